// The loop of a scheduler worker. It ends when its slot or a SIGTERM says so, or when the extension is gone;
// an error in a tick is logged and tried again later.
#include "extension/worker.hpp"

#include "extension/change_teller.hpp"
#include "extension/guc.hpp"
#include "extension/shared_state.hpp"
#include "extension/tick.hpp"
#include "extension/worker_slot.hpp"

extern "C" {
#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"
#include "utils/timeout.h"
}

namespace sync_engine {

namespace {

constexpr std::int64_t kFirstRetryMs = 1000;
constexpr std::int64_t kHousekeepingMs = 60 * 1000;
constexpr int kMaxHousekeepingSteps = 20;
// In a row, a second apart, before it is an error that housekeeping found a lock taken: it waits for none for
// long.
constexpr int kMostPutOff = 5;
constexpr std::int64_t kTellingPauseMs = 200;
constexpr std::int64_t kTellingRetryMs = 10 * 1000;
// Schedules that run each second, or wait for something, do not make it tick more often.
constexpr std::int64_t kLeastPauseMs = 1000;
// Batches in a row that ask for more without having done anything: the rest waits for the next tick.
constexpr int kMaxIdleBatches = 1000;

enum class Outcome { done, put_off, failed };

enum class Mood { unknown, ticking, background_off, disabled, foreign };

struct Worker {
    NameData database;
    MemoryContext tick_context;
    MemoryContext telling_context;
    Mood mood;
    bool extension_gone;
    bool tick_now;
    int failures;           // ticks in a row that raised
    std::int64_t next_try;  // while failures > 0 or the extension was busy
    std::int64_t last_tick;
    std::int64_t next_look;  // when a schedule has to be looked at, between two ticks; 0: not before the next
    std::int64_t next_housekeeping;
    int put_off;            // how often housekeeping was, in a row
    std::int64_t may_tell;  // changes, if any wait
};

struct TickTotals {
    TickBatch sum;  // backlog: the last batch's
    int batches;
};

Worker worker = {};
volatile sig_atomic_t stop_requested = false;

void on_sigterm([[maybe_unused]] SIGNAL_ARGS) {
    const int saved_errno = errno;
    stop_requested = true;
    SetLatch(MyLatch);
    errno = saved_errno;
}

// Takes notice of what the slot says; true: the worker shall end.
bool told_to_leave() {
    const SlotOrders orders = read_orders();
    worker.tick_now = worker.tick_now || orders.recheck;
    return orders.leave || stop_requested;
}

void absorb_interrupts() {
    CHECK_FOR_INTERRUPTS();
    if (ConfigReloadPending) {
        const bool enabled = guc::enabled;
        const bool background_ticks = guc::background_ticks;
        ConfigReloadPending = false;
        ProcessConfigFile(PGC_SIGHUP);
        // A switch takes effect, and is reported, now; a changed interval is read afresh anyway.
        worker.tick_now =
            worker.tick_now || enabled != guc::enabled || background_ticks != guc::background_ticks;
    }
}

void add_error_context(void*) {
    errcontext("sync_engine scheduler for database \"%s\"", NameStr(worker.database));
}

// Runs `step`; an error it raises is logged and leaves the worker idle, outside of any transaction.
// `patient`: a lock that was not free is not an error.
Outcome run_guarded(void (*step)(void*), void* argument, bool patient = false) {
    volatile Outcome outcome = Outcome::failed;
    ErrorContextCallback context = {error_context_stack, add_error_context, nullptr};
    PG_TRY();
    {
        error_context_stack = &context;
        step(argument);
        outcome = Outcome::done;
        error_context_stack = context.previous;
    }
    PG_CATCH();
    {
        HOLD_INTERRUPTS();
        disable_all_timeouts(false);
        QueryCancelPending = false;
        if (patient && geterrcode() == ERRCODE_LOCK_NOT_AVAILABLE) {
            outcome = Outcome::put_off;
        } else {
            EmitErrorReport();
        }
        AbortCurrentTransaction();
        LWLockReleaseAll();
        MemoryContextSwitchTo(TopMemoryContext);
        FlushErrorState();
        debug_query_string = nullptr;
        pgstat_report_activity(STATE_IDLE, nullptr);
        RESUME_INTERRUPTS();
    }
    PG_END_TRY();
    return outcome;
}

void settle_mood(bool quiet) {
    Mood mood = Mood::ticking;
    if (!guc::enabled) {
        mood = Mood::disabled;
    } else if (quiet) {
        mood = Mood::foreign;
    } else if (!guc::background_ticks) {
        mood = Mood::background_off;
    }
    if (mood == worker.mood) {
        return;
    }
    const char* name = NameStr(worker.database);
    switch (mood) {
        case Mood::disabled:
            ereport(LOG, (errmsg("sync_engine does nothing in database \"%s\": sync_engine.enabled is off",
                                 name)));
            break;
        case Mood::foreign:
            ereport(
                LOG,
                (errmsg("sync_engine does nothing in database \"%s\": it was restored from or cloned from "
                        "another",
                        name),
                 errhint(
                     "If it is meant to call the providers' APIs, run SELECT sync.adopt_database() there.")));
            break;
        case Mood::background_off:
            ereport(
                LOG,
                (errmsg("sync_engine does not tick in database \"%s\": sync_engine.background_ticks is off",
                        name)));
            break;
        case Mood::ticking:
        case Mood::unknown:
            if (worker.mood != Mood::unknown) {
                ereport(LOG, (errmsg("sync_engine ticks again in database \"%s\"", name)));
            }
            break;
    }
    worker.mood = mood;
}

void take_result(StepResult result) {
    if (result == StepResult::extension_gone) {
        worker.extension_gone = true;
    } else if (result == StepResult::extension_busy) {
        worker.next_try = monotonic_ms() + kFirstRetryMs;
    }
}

void add_batch(TickTotals* totals, const TickBatch& batch) {
    totals->sum.enqueued += batch.enqueued;
    totals->sum.skipped += batch.skipped;
    totals->sum.requeued += batch.requeued;
    totals->sum.backlog = batch.backlog;
    totals->batches++;
}

// Also while ticks are off: what executors and people do is told all the same.
std::int64_t next_telling() {
    return changes_wait() ? worker.may_tell : PG_INT64_MAX;
}

void telling_step(void* argument) {
    auto* result = static_cast<StepResult*>(argument);
    *result = tell_changes();
    worker.extension_gone = worker.extension_gone || *result == StepResult::extension_gone;
}

void tell() {
    MemoryContext caller = MemoryContextSwitchTo(worker.telling_context);
    StepResult result = StepResult::extension_busy;
    const bool succeeded = run_guarded(telling_step, &result) == Outcome::done;
    MemoryContextSwitchTo(caller);
    MemoryContextReset(worker.telling_context);
    worker.may_tell = monotonic_ms() + (succeeded ? kTellingPauseMs : kTellingRetryMs);
    if (result != StepResult::done) {
        set_changes_wait(true);
    }
}

// All batches of one tick; reads flags between them. *argument: what they did, also if one of them raises.
void tick_step(void* argument) {
    auto* totals = static_cast<TickTotals*>(argument);
    TickBatch batch = {};
    int idle_batches = 0;
    do {
        const StepResult result = run_tick_batch(&batch);
        take_result(result);
        if (result != StepResult::done) {
            return;
        }
        settle_mood(batch.quiet);
        if (batch.quiet) {
            return;
        }
        add_batch(totals, batch);
        worker.next_look = batch.look_in_ms < 0 ? 0 : monotonic_ms() + batch.look_in_ms;
        idle_batches = batch.enqueued + batch.skipped + batch.requeued > 0 ? 0 : idle_batches + 1;
        absorb_interrupts();
        if (monotonic_ms() >= next_telling()) {
            tell();
        }
    } while (batch.more && idle_batches < kMaxIdleBatches && guc::background_ticks && !told_to_leave());
}

void report_tick(const TickTotals& totals, std::int64_t started) {
    const TickBatch& sum = totals.sum;
    if (sum.enqueued + sum.skipped + sum.requeued == 0) {
        return;
    }
    ereport(LOG, (errmsg("sync_engine tick in database \"%s\": enqueued " INT64_FORMAT
                         ", skipped " INT64_FORMAT ", requeued " INT64_FORMAT ", backlog " INT64_FORMAT
                         ", batches %d, duration " INT64_FORMAT " ms",
                         NameStr(worker.database), sum.enqueued, sum.skipped, sum.requeued, sum.backlog,
                         totals.batches, monotonic_ms() - started)));
}

std::int64_t tick_interval_ms() {
    return static_cast<std::int64_t>(guc::tick_interval_seconds) * 1000;
}

void back_off() {
    std::int64_t wait = kFirstRetryMs;
    for (int i = 0; i < worker.failures && wait < tick_interval_ms(); i++) {
        wait *= 2;
    }
    worker.failures++;
    worker.next_try = monotonic_ms() + Max(Min(wait, tick_interval_ms()), kFirstRetryMs);
}

void housekeeping_step(void*) {
    bool more = true;
    for (int i = 0; more && i < kMaxHousekeepingSteps; i++) {
        const StepResult result = run_housekeeping(&more);
        worker.extension_gone = result == StepResult::extension_gone;
        absorb_interrupts();
        if (result != StepResult::done || told_to_leave()) {
            return;
        }
    }
}

void probe_step(void*) {
    take_result(probe_extension());
}

void tick() {
    const std::int64_t started = monotonic_ms();
    worker.tick_now = false;
    worker.last_tick = started;
    worker.next_try = 0;
    worker.next_look = 0;
    if (!guc::background_ticks) {
        settle_mood(false);
        (void)run_guarded(probe_step, nullptr);
        return;
    }
    MemoryContextSwitchTo(worker.tick_context);
    TickTotals totals = {};
    if (run_guarded(tick_step, &totals) == Outcome::done) {
        worker.failures = 0;
    } else {
        back_off();
    }
    report_tick(totals, started);
    MemoryContextSwitchTo(TopMemoryContext);
    MemoryContextReset(worker.tick_context);
}

void keep_house() {
    worker.next_housekeeping = monotonic_ms() + kHousekeepingMs;
    MemoryContextSwitchTo(worker.tick_context);
    if (run_guarded(housekeeping_step, nullptr, worker.put_off < kMostPutOff) == Outcome::put_off) {
        if (worker.put_off++ == 0) {
            ereport(LOG,
                    (errmsg("sync_engine housekeeping in database \"%s\" is put off: a lock was not free",
                            NameStr(worker.database))));
        }
        worker.next_housekeeping = monotonic_ms() + kFirstRetryMs;
    } else {
        worker.put_off = 0;
    }
    MemoryContextSwitchTo(TopMemoryContext);
    MemoryContextReset(worker.tick_context);
}

std::int64_t next_tick() {
    if (worker.tick_now) {
        return 0;
    }
    if (worker.next_try > 0) {
        return worker.next_try;
    }
    const std::int64_t next = worker.last_tick + tick_interval_ms();
    return worker.next_look > 0 ? Min(next, Max(worker.next_look, worker.last_tick + kLeastPauseMs)) : next;
}

void run_worker() {
    static std::uint32_t event = 0;
    worker.tick_now = true;
    for (;;) {
        ResetLatch(MyLatch);
        // Nothing runs that could be cancelled.
        QueryCancelPending = false;
        absorb_interrupts();
        if (told_to_leave() || worker.extension_gone) {
            return;
        }
        if (monotonic_ms() >= next_telling()) {
            tell();
        } else if (monotonic_ms() >= next_tick()) {
            tick();
        } else if (monotonic_ms() >= worker.next_housekeeping) {
            // After a tick rather than before, so that what is due does not wait for it.
            keep_house();
        } else {
            const std::int64_t next = Min(next_telling(), Min(next_tick(), worker.next_housekeeping));
            const std::int64_t wait = next - monotonic_ms();
            WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
                      static_cast<long>(Max(wait, 1)), wait_event(&event, "SyncEngineWaitForTick"));
        }
    }
}

// Whether there is anything to do in this database at all.
bool find_work() {
    return read_database_name(&worker.database) && probe_extension() != StepResult::extension_gone;
}

void work() {
    const char* name = NameStr(worker.database);
    confirm_slot();
    ereport(LOG, (errmsg("sync_engine scheduler for database \"%s\" started", name)));
    run_worker();
    if (worker.extension_gone) {
        set_exit(WorkerExit::absent);
        ereport(LOG, (errmsg("sync_engine scheduler for database \"%s\" ends: the extension is gone", name)));
    } else {
        set_exit(WorkerExit::terminated);
        ereport(LOG, (errmsg("sync_engine scheduler for database \"%s\" stopped cleanly", name)));
    }
}

}  // namespace

}  // namespace sync_engine

extern "C" {
extern PGDLLEXPORT void sync_engine_worker_main(Datum argument);

void sync_engine_worker_main(Datum argument) {
    using namespace sync_engine;
    // Until it is connected there is nothing to finish, and a wait for a lock on the database has to end.
    pqsignal(SIGTERM, die);
    pqsignal(SIGHUP, SignalHandlerForConfigReload);
    BackgroundWorkerUnblockSignals();

    Oid database = InvalidOid;
    if (!enter_slot(DatumGetInt32(argument), &database)) {
        proc_exit(0);
    }
    BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
    pqsignal(SIGTERM, on_sigterm);
    prepare_worker_session();
    worker.tick_context = AllocSetContextCreate(TopMemoryContext, "sync_engine tick", ALLOCSET_DEFAULT_SIZES);
    worker.telling_context =
        AllocSetContextCreate(TopMemoryContext, "sync_engine changes", ALLOCSET_SMALL_SIZES);
    if (find_work()) {
        work();
    } else {
        set_exit(WorkerExit::absent);
    }
    proc_exit(0);
}
}

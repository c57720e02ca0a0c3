// Keeps shared memory's slots in step with pg_database, and a worker behind each slot that wants one. What a
// cycle needs is read afresh each time, so a lost wake-up or a launcher that died costs at most one period.
#include "extension/launcher.hpp"

#include <initializer_list>

#include "extension/ddl_hooks.hpp"
#include "extension/deferred.hpp"
#include "extension/guc.hpp"
#include "extension/shared_state.hpp"
#include "extension/worker.hpp"

extern "C" {
#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
}

namespace sync_engine {

namespace {

constexpr int kRestartSeconds = 5;
constexpr std::int64_t kCycleMs = 10 * 1000;
constexpr std::int64_t kProbeAgainMs = 5 * 60 * 1000;
constexpr std::int64_t kAfterTerminationMs = 1000;
constexpr std::int64_t kFirstBackoffMs = 5 * 1000;
constexpr std::int64_t kLongestBackoffMs = 60 * 1000;
constexpr std::int64_t kHealthyMs = 60 * 1000;
// Workers that have not seen their extension yet: most databases have none, and they would take the places of
// those that do.
constexpr int kMaxProbes = 3;

constexpr const char* kLauncherType = "sync_engine launcher";

struct Database {
    Oid oid;
    NameData name;
};

// Of the launcher alone; what a new one would need is in the slots.
struct Launcher {
    BackgroundWorkerHandle** handles;  // one a slot, null: none
    MemoryContext cycle_context;
    Database* databases;  // those that may have a worker; in cycle_context
    int database_count;
    bool no_worker_place;  // as said in the log
    bool no_slot;
};

Launcher launcher = {};

// Those that can be connected to and are no template: a connection to one would make CREATE DATABASE fail.
void read_databases() {
    MemoryContextReset(launcher.cycle_context);
    launcher.database_count = 0;
    int capacity = 16;
    launcher.databases =
        static_cast<Database*>(MemoryContextAlloc(launcher.cycle_context, capacity * sizeof(Database)));

    StartTransactionCommand();
    (void)GetTransactionSnapshot();
    Relation relation = table_open(DatabaseRelationId, AccessShareLock);
    TableScanDesc scan = table_beginscan_catalog(relation, 0, nullptr);
    for (HeapTuple tuple = heap_getnext(scan, ForwardScanDirection); HeapTupleIsValid(tuple);
         tuple = heap_getnext(scan, ForwardScanDirection)) {
        const auto* form = reinterpret_cast<Form_pg_database>(GETSTRUCT(tuple));
        // A connection limit of -2 marks what an interrupted DROP DATABASE has left behind.
        if (!form->datallowconn || form->datistemplate || form->datconnlimit == -2) {
            continue;
        }
        if (launcher.database_count == capacity) {
            capacity *= 2;
            launcher.databases =
                static_cast<Database*>(repalloc(launcher.databases, capacity * sizeof(Database)));
        }
        launcher.databases[launcher.database_count++] = {form->oid, form->datname};
    }
    table_endscan(scan);
    table_close(relation, AccessShareLock);
    CommitTransactionCommand();
}

const Database* find_database(Oid oid) {
    for (int i = 0; i < launcher.database_count; i++) {
        if (launcher.databases[i].oid == oid) {
            return &launcher.databases[i];
        }
    }
    return nullptr;
}

// Slots of databases that are gone, or may no longer be connected to.
void retire_slot(int index) {
    DatabaseSlot* slot = &shared_state()->slots[index];
    switch (slot->state) {
        case SlotState::running:
            slot->leave = true;
            nudge_worker(slot);
            return;
        case SlotState::starting:
            slot->launch++;
            slot->state = SlotState::pending;
            return;
        case SlotState::pending:
        case SlotState::ended:
        case SlotState::absent:
            if (slot->holders == 0 && launcher.handles[index] == nullptr) {
                slot->database = InvalidOid;
            }
            return;
    }
}

// Returns whether every database has a slot.
bool reconcile_slots() {
    bool all = true;
    lock_slots(LW_EXCLUSIVE);
    for (int i = 0; i < shared_state()->slot_count; i++) {
        const Oid database = shared_state()->slots[i].database;
        if (OidIsValid(database) && find_database(database) == nullptr) {
            retire_slot(i);
        }
    }
    for (int i = 0; i < launcher.database_count; i++) {
        all = find_or_take_slot(launcher.databases[i].oid) != nullptr && all;
    }
    unlock_slots();
    return all;
}

std::int64_t backoff_after(int crashes) {
    std::int64_t wait = kFirstBackoffMs;
    for (int i = 1; i < crashes && wait < kLongestBackoffMs; i++) {
        wait *= 2;
    }
    return Min(wait, kLongestBackoffMs);
}

// What follows from the way in which the slot's worker ended. The lock must be held.
void settle_ended(DatabaseSlot* slot, std::int64_t now) {
    const bool was_healthy = now - slot->started_at > kHealthyMs;
    slot->state = SlotState::pending;
    switch (slot->last_exit) {
        case WorkerExit::absent:
            slot->state = SlotState::absent;
            slot->confirmed = false;
            slot->crashes = 0;
            slot->not_before = now + kProbeAgainMs;
            break;
        case WorkerExit::left:
            slot->crashes = 0;
            slot->not_before = now;
            break;
        case WorkerExit::terminated:
            slot->not_before = now + kAfterTerminationMs;
            break;
        case WorkerExit::crashed:
            slot->crashes = was_healthy ? 1 : slot->crashes + 1;
            slot->not_before = now + backoff_after(slot->crashes);
            break;
    }
}

// A worker that went away before it reported, as when the library cannot be loaded.
void settle_stillborn(DatabaseSlot* slot, std::int64_t now) {
    slot->last_exit = WorkerExit::crashed;
    slot->started_at = now;
    settle_ended(slot, now);
}

void reap(std::int64_t now) {
    for (int i = 0; i < shared_state()->slot_count; i++) {
        DatabaseSlot* slot = &shared_state()->slots[i];
        bool stopped = false;
        if (launcher.handles[i] != nullptr) {
            pid_t pid = 0;
            if (GetBackgroundWorkerPid(launcher.handles[i], &pid) != BGWH_STOPPED) {
                continue;
            }
            pfree(launcher.handles[i]);
            launcher.handles[i] = nullptr;
            stopped = true;
        }
        lock_slots(LW_EXCLUSIVE);
        if (OidIsValid(slot->database)) {
            if (slot->state == SlotState::ended) {
                settle_ended(slot, now);
            } else if (slot->state == SlotState::starting && stopped) {
                settle_stillborn(slot, now);
            }
        }
        unlock_slots();
    }
}

bool wants_worker(const DatabaseSlot* slot, std::int64_t now) {
    if (!OidIsValid(slot->database) || slot->holders > 0 || find_database(slot->database) == nullptr) {
        return false;
    }
    return (slot->state == SlotState::pending && now >= slot->not_before) ||
           (slot->state == SlotState::absent && (slot->recheck || now >= slot->not_before));
}

int count_probes() {
    int probes = 0;
    lock_slots(LW_SHARED);
    for (int i = 0; i < shared_state()->slot_count; i++) {
        const DatabaseSlot* slot = &shared_state()->slots[i];
        const bool under_way = slot->state == SlotState::starting || slot->state == SlotState::running;
        probes += OidIsValid(slot->database) && under_way && !slot->confirmed ? 1 : 0;
    }
    unlock_slots();
    return probes;
}

bool register_worker(int index, Oid database, std::uint64_t launch) {
    BackgroundWorker worker = {};
    snprintf(worker.bgw_name, BGW_MAXLEN, "sync_engine scheduler for database %u", database);
    strlcpy(worker.bgw_type, kWorkerType, BGW_MAXLEN);
    worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
    worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
    // It is this process that starts it again: it knows why the last one ended.
    worker.bgw_restart_time = BGW_NEVER_RESTART;
    strlcpy(worker.bgw_library_name, kExtensionName, BGW_MAXLEN);
    strlcpy(worker.bgw_function_name, "sync_engine_worker_main", BGW_MAXLEN);
    worker.bgw_main_arg = Int32GetDatum(index);
    memcpy(worker.bgw_extra, &launch, sizeof launch);
    worker.bgw_notify_pid = MyProcPid;
    MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);
    const bool registered = RegisterDynamicBackgroundWorker(&worker, &launcher.handles[index]);
    MemoryContextSwitchTo(caller);
    return registered;
}

enum class Launch { not_wanted, done, no_place };

Launch launch_worker(int index, std::int64_t now) {
    DatabaseSlot* slot = &shared_state()->slots[index];
    if (launcher.handles[index] != nullptr) {
        return Launch::not_wanted;
    }
    lock_slots(LW_EXCLUSIVE);
    if (!wants_worker(slot, now)) {
        unlock_slots();
        return Launch::not_wanted;
    }
    const SlotState former = slot->state;
    const bool routine = former == SlotState::absent && !slot->recheck;
    const Oid database = slot->database;
    const std::uint64_t launch = ++slot->launch;
    slot->state = SlotState::starting;
    unlock_slots();

    if (register_worker(index, database, launch)) {
        return Launch::done;
    }
    launcher.handles[index] = nullptr;
    lock_slots(LW_EXCLUSIVE);
    if (slot->database == database && slot->launch == launch) {
        slot->state = former;
    }
    unlock_slots();
    return routine ? Launch::not_wanted : Launch::no_place;
}

// Says once that places are missing, and once that they no longer are.
void report_places(const Database* left_out) {
    if (left_out != nullptr && !launcher.no_worker_place) {
        ereport(LOG, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
                      errmsg("no background worker is free for sync_engine in database \"%s\"",
                             NameStr(left_out->name)),
                      errhint("Nothing is scheduled there until one is. Consider increasing "
                              "max_worker_processes.")));
    } else if (left_out == nullptr && launcher.no_worker_place) {
        ereport(LOG, (errmsg("background workers are free for sync_engine again")));
    }
    launcher.no_worker_place = left_out != nullptr;
}

// Databases that are known to have the extension go first.
void launch_workers(std::int64_t now) {
    int probes = count_probes();
    const Database* left_out = nullptr;
    for (const bool confirmed : {true, false}) {
        for (int i = 0; i < shared_state()->slot_count; i++) {
            const DatabaseSlot* slot = &shared_state()->slots[i];
            if (slot->confirmed != confirmed || (!confirmed && probes >= kMaxProbes)) {
                continue;
            }
            const Launch launch = launch_worker(i, now);
            probes += launch == Launch::done && !confirmed ? 1 : 0;
            if (launch == Launch::no_place) {
                left_out = find_database(slot->database);
            }
        }
    }
    // While probes are under way a place will be free in a moment: too early to say either.
    if (left_out == nullptr || probes == 0) {
        report_places(left_out);
    }
}

void report_slots(bool all_have_slots) {
    if (!all_have_slots && !launcher.no_slot) {
        ereport(LOG,
                (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
                 errmsg("sync_engine does not look after all of the %d databases", launcher.database_count),
                 errhint("Increase sync_engine.max_databases (now %d) and restart the server.",
                         guc::max_databases)));
    } else if (all_have_slots && launcher.no_slot) {
        ereport(LOG, (errmsg("sync_engine looks after all databases again")));
    }
    launcher.no_slot = !all_have_slots;
}

std::int64_t time_to_next_cycle(std::int64_t now) {
    std::int64_t wait = kCycleMs;
    lock_slots(LW_SHARED);
    for (int i = 0; i < shared_state()->slot_count; i++) {
        const DatabaseSlot* slot = &shared_state()->slots[i];
        if (OidIsValid(slot->database) && slot->state == SlotState::pending && slot->holders == 0 &&
            slot->not_before > now) {
            wait = Min(wait, slot->not_before - now);
        }
    }
    unlock_slots();
    return wait;
}

void leave_shared_state(int, Datum) {
    lock_slots(LW_EXCLUSIVE);
    if (shared_state()->launcher_latch == MyLatch) {
        shared_state()->launcher_latch = nullptr;
    }
    unlock_slots();
}

void enter_shared_state() {
    lock_slots(LW_EXCLUSIVE);
    shared_state()->launcher_latch = MyLatch;
    for (int i = 0; i < shared_state()->slot_count; i++) {
        DatabaseSlot* slot = &shared_state()->slots[i];
        if (OidIsValid(slot->database) && slot->state == SlotState::starting) {
            // Registered by a launcher that has died: that worker is turned away, as nobody could watch it.
            slot->launch++;
            slot->state = SlotState::pending;
        }
    }
    unlock_slots();
    on_shmem_exit(leave_shared_state, static_cast<Datum>(0));
}

void run_cycle() {
    read_databases();
    const std::int64_t now = monotonic_ms();
    reap(now);
    report_slots(reconcile_slots());
    launch_workers(now);
}

void run_launcher() {
    static std::uint32_t event = 0;
    while (!ShutdownRequestPending) {
        ResetLatch(MyLatch);
        CHECK_FOR_INTERRUPTS();
        if (ConfigReloadPending) {
            ConfigReloadPending = false;
            ProcessConfigFile(PGC_SIGHUP);
        }
        run_cycle();
        WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
                  static_cast<long>(time_to_next_cycle(monotonic_ms())),
                  wait_event(&event, "SyncEngineLauncher"));
    }
}

}  // namespace

}  // namespace sync_engine

extern "C" {
extern PGDLLEXPORT void sync_engine_launcher_main(Datum argument);

void sync_engine_launcher_main([[maybe_unused]] Datum argument) {
    using namespace sync_engine;
    pqsignal(SIGHUP, SignalHandlerForConfigReload);
    pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
    BackgroundWorkerUnblockSignals();

    launcher.handles = static_cast<BackgroundWorkerHandle**>(MemoryContextAllocZero(
        TopMemoryContext, shared_state()->slot_count * sizeof(BackgroundWorkerHandle*)));
    launcher.cycle_context =
        AllocSetContextCreate(TopMemoryContext, "sync_engine launcher cycle", ALLOCSET_DEFAULT_SIZES);
    enter_shared_state();
    BackgroundWorkerInitializeConnection(nullptr, nullptr, 0);
    SetConfigOption("application_name", kLauncherType, PGC_USERSET, PGC_S_OVERRIDE);
    pgstat_report_activity(STATE_IDLE, nullptr);

    run_launcher();
    // Exit code 0 would mean never to be started again, should somebody have terminated it by hand.
    proc_exit(1);
}
}

namespace sync_engine {

void launcher_init() {
    if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade) {
        return;
    }
    request_shared_state();
    register_deferred_actions();
    install_ddl_hooks();

    BackgroundWorker worker = {};
    strlcpy(worker.bgw_name, kLauncherType, BGW_MAXLEN);
    strlcpy(worker.bgw_type, kLauncherType, BGW_MAXLEN);
    worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
    worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
    worker.bgw_restart_time = kRestartSeconds;
    strlcpy(worker.bgw_library_name, kExtensionName, BGW_MAXLEN);
    strlcpy(worker.bgw_function_name, "sync_engine_launcher_main", BGW_MAXLEN);
    RegisterBackgroundWorker(&worker);
}

}  // namespace sync_engine

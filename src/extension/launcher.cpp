// Keeps shared memory's slots in step with pg_database, and a worker behind each slot that wants one. What a
// cycle needs is read afresh each time, so a lost wake-up or a launcher that died costs at most one period.
#include "extension/launcher.hpp"

#include <initializer_list>

#include "extension/database_list.hpp"
#include "extension/ddl_hooks.hpp"
#include "extension/deferred.hpp"
#include "extension/guc.hpp"
#include "extension/processes.hpp"
#include "extension/shared_state.hpp"

extern "C" {
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "utils/memutils.h"
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

// Of the launcher alone; what a new one would need is in the slots.
struct Launcher {
    bool no_worker_place;  // as said in the log
    bool no_slot;
};

Launcher launcher = {};

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
            if (slot->holders == 0 && worker_process(index) == WorkerProcess::none) {
                slot->database = InvalidOid;
            }
            return;
    }
}

// Gives a slot to each database that may have the extension; returns one that there is no slot for, or null.
const Database* reconcile_slots(std::int64_t now) {
    const Database* left_out = nullptr;
    lock_slots(LW_EXCLUSIVE);
    for (int i = 0; i < shared_state()->slot_count; i++) {
        const Oid database = shared_state()->slots[i].database;
        if (OidIsValid(database) && find_database(database) == nullptr) {
            retire_slot(i);
        }
    }
    for (int i = 0; i < database_count(); i++) {
        const Oid database = database_at(i)->oid;
        if (!known_absent(database, now) && find_or_take_slot(database) == nullptr) {
            left_out = database_at(i);
        }
    }
    unlock_slots();
    return left_out;
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
    slot->state = SlotState::pending;
    slot->not_before = now;
    switch (slot->last_exit) {
        case WorkerExit::absent:
            slot->crashes = 0;
            slot->confirmed = false;
            // Unless it was created since that worker looked: then the slot stays, for the next one.
            if (!slot->recheck && slot->holders == 0) {
                remember_absent(slot->database, now + kProbeAgainMs);
                slot->database = InvalidOid;
            }
            break;
        case WorkerExit::left:
            slot->crashes = 0;
            break;
        case WorkerExit::terminated:
            slot->not_before += kAfterTerminationMs;
            break;
        case WorkerExit::crashed:
            slot->crashes = now - slot->started_at > kHealthyMs ? 1 : slot->crashes + 1;
            slot->not_before += backoff_after(slot->crashes);
            break;
    }
}

void report_crash(Oid database, int crashes) {
    const Database* known = find_database(database);
    if (known != nullptr) {
        ereport(
            LOG,
            (errmsg(
                "sync_engine scheduler for database \"%s\" failed, %d in a row, comes back in " INT64_FORMAT
                " s",
                NameStr(known->name), crashes, backoff_after(crashes) / 1000)));
    }
}

// `stopped`: the process of the slot's launch is gone.
void settle_slot(DatabaseSlot* slot, bool stopped, std::int64_t now) {
    lock_slots(LW_EXCLUSIVE);
    const Oid database = slot->database;
    if (OidIsValid(database) && slot->state == SlotState::starting && stopped) {
        // It went away before it reported, as when the library cannot be loaded.
        slot->last_exit = WorkerExit::crashed;
        slot->started_at = now;
        slot->state = SlotState::ended;
    }
    const bool ended = OidIsValid(database) && slot->state == SlotState::ended;
    if (ended) {
        settle_ended(slot, now);
    }
    const int crashes = ended && slot->last_exit == WorkerExit::crashed ? slot->crashes : 0;
    unlock_slots();
    if (crashes > 0) {
        report_crash(database, crashes);
    }
}

void reap(std::int64_t now) {
    for (int i = 0; i < shared_state()->slot_count; i++) {
        const WorkerProcess process = worker_process(i);
        if (process == WorkerProcess::alive) {
            continue;
        }
        const bool stopped = process == WorkerProcess::stopped;
        if (stopped) {
            forget_worker_process(i);
        }
        settle_slot(&shared_state()->slots[i], stopped, now);
    }
}

bool wants_worker(const DatabaseSlot* slot, std::int64_t now) {
    return OidIsValid(slot->database) && slot->state == SlotState::pending && now >= slot->not_before &&
           slot->holders == 0 && find_database(slot->database) != nullptr;
}

// Workers that have just been started or that are about to be gone: the places they take say nothing yet.
int count_in_transit() {
    int count = 0;
    lock_slots(LW_SHARED);
    for (int i = 0; i < shared_state()->slot_count; i++) {
        const DatabaseSlot* slot = &shared_state()->slots[i];
        const bool settled =
            slot->state == SlotState::pending || (slot->state == SlotState::running && slot->confirmed);
        count += OidIsValid(slot->database) && !settled ? 1 : 0;
    }
    unlock_slots();
    return count;
}

// Slots whose database has not been looked at yet, and whose worker does not fail.
int count_unconfirmed() {
    int unconfirmed = 0;
    lock_slots(LW_SHARED);
    for (int i = 0; i < shared_state()->slot_count; i++) {
        const DatabaseSlot* slot = &shared_state()->slots[i];
        unconfirmed += OidIsValid(slot->database) && !slot->confirmed && slot->crashes == 0 ? 1 : 0;
    }
    unlock_slots();
    return unconfirmed;
}

enum class Launch { not_wanted, done, no_place };

Launch launch_worker(int index, std::int64_t now) {
    DatabaseSlot* slot = &shared_state()->slots[index];
    if (worker_process(index) != WorkerProcess::none) {
        return Launch::not_wanted;
    }
    lock_slots(LW_EXCLUSIVE);
    if (!wants_worker(slot, now)) {
        unlock_slots();
        return Launch::not_wanted;
    }
    const Oid database = slot->database;
    const std::uint64_t launch = ++slot->launch;
    slot->state = SlotState::starting;
    unlock_slots();

    if (start_worker_process(index, database, launch)) {
        return Launch::done;
    }
    lock_slots(LW_EXCLUSIVE);
    if (slot->database == database && slot->launch == launch) {
        slot->state = SlotState::pending;
    }
    unlock_slots();
    return Launch::no_place;
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
    int in_transit = count_in_transit();
    const Database* left_out = nullptr;
    for (const bool confirmed : {true, false}) {
        for (int i = 0; i < shared_state()->slot_count; i++) {
            const DatabaseSlot* slot = &shared_state()->slots[i];
            if (slot->confirmed != confirmed || (!confirmed && in_transit >= kMaxProbes)) {
                continue;
            }
            const Launch launch = launch_worker(i, now);
            in_transit += launch == Launch::done ? 1 : 0;
            if (launch == Launch::no_place) {
                left_out = find_database(slot->database);
            }
        }
    }
    // A place may be free in a moment: too early to say.
    if (left_out == nullptr || in_transit == 0) {
        report_places(left_out);
    }
}

void report_slots(const Database* left_out) {
    if (left_out != nullptr && !launcher.no_slot) {
        ereport(LOG,
                (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
                 errmsg("sync_engine has more databases to look after than sync_engine.max_databases (%d)",
                        guc::max_databases),
                 errhint("Database \"%s\" is left out, for one. Increase the setting and restart the server.",
                         NameStr(left_out->name))));
    } else if (left_out == nullptr && launcher.no_slot) {
        ereport(LOG, (errmsg("sync_engine looks after all databases again")));
    }
    launcher.no_slot = left_out != nullptr;
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
    const Database* left_out = reconcile_slots(now);
    launch_workers(now);
    // The slots of probes will be free in a moment.
    if (left_out == nullptr || count_unconfirmed() == 0) {
        report_slots(left_out);
    }
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

    init_worker_processes();
    init_database_list();
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

    register_launcher_process(kLauncherType, kRestartSeconds);
}

}  // namespace sync_engine

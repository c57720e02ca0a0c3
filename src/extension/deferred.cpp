// Actions at the end of a transaction.
#include "extension/deferred.hpp"

#include <csignal>

#include "extension/claim_hints.hpp"
#include "extension/due_hint.hpp"
#include "extension/shared_state.hpp"

extern "C" {
#include "access/xact.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
}

namespace sync_engine {

namespace {

constexpr std::int64_t kHoldPatienceMs = 5000;

struct Deferred {
    bool recheck;
    bool launcher_cycle;
    bool executor_wake;
    bool restart_all;
    List* restarts;  // OIDs of databases, in TopMemoryContext
};

Deferred deferred = {};
List* held = NIL;  // OIDs of databases, in TopMemoryContext

void remember(List** list, Oid database) {
    MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);
    *list = list_append_unique_oid(*list, database);
    MemoryContextSwitchTo(caller);
}

void release_held() {
    if (held == NIL) {
        return;
    }
    lock_slots(LW_EXCLUSIVE);
    ListCell* cell = nullptr;
    foreach (cell, held) {
        DatabaseSlot* slot = find_slot(lfirst_oid(cell));
        if (slot != nullptr && slot->holders > 0) {
            slot->holders--;
        }
    }
    nudge_launcher();
    unlock_slots();
    list_free(held);
    held = NIL;
}

void ask_to_leave(DatabaseSlot* slot) {
    if (slot->state == SlotState::starting) {
        // Not connected yet: it finds that its launch is no longer the current one and goes.
        slot->launch++;
        slot->state = SlotState::pending;
    } else if (slot->state == SlotState::running) {
        slot->leave = true;
        nudge_worker(slot);
    }
}

void tell_launcher_and_workers() {
    lock_slots(LW_EXCLUSIVE);
    for (int i = 0; i < shared_state()->slot_count; i++) {
        DatabaseSlot* slot = &shared_state()->slots[i];
        if (!OidIsValid(slot->database)) {
            continue;
        }
        if (deferred.restart_all || list_member_oid(deferred.restarts, slot->database)) {
            ask_to_leave(slot);
        }
    }
    // A slot wants a worker, so that one is enough for the launcher to look.
    DatabaseSlot* mine = deferred.recheck ? find_or_take_slot(MyDatabaseId) : nullptr;
    if (mine != nullptr) {
        mine->recheck = true;
        nudge_worker(mine);
    }
    nudge_launcher();
    unlock_slots();
}

void wake_executors() {
    WorkChannel* channel = channel_of(MyDatabaseId);
    pg_atomic_fetch_add_u64(&channel->generation, 1);
    ConditionVariableBroadcast(&channel->changed);
}

void on_transaction_end(XactEvent event, void*) {
    switch (event) {
        case XACT_EVENT_COMMIT:
            // What was written is visible to others by now, and has to be found by those that are woken.
            settle_claim_hints(true);
            settle_due_hint(true);
            if (deferred.executor_wake) {
                wake_executors();
            }
            if (deferred.recheck || deferred.launcher_cycle || deferred.restart_all ||
                deferred.restarts != NIL) {
                tell_launcher_and_workers();
            }
            break;
        case XACT_EVENT_ABORT:
        case XACT_EVENT_PREPARE:
            settle_claim_hints(false);
            settle_due_hint(false);
            break;
        default:
            return;
    }
    release_held();
    list_free(deferred.restarts);
    deferred = {};
}

// A backend that exits ends its transaction first, so this finds something only if that went wrong.
void release_at_exit(int, Datum) {
    release_held();
}

bool worker_gone(Oid database) {
    lock_slots(LW_SHARED);
    const DatabaseSlot* slot = find_slot(database);
    const bool gone = slot == nullptr || slot->worker_pid == 0;
    unlock_slots();
    return gone;
}

void wait_for_worker_to_leave(Oid database, ConditionVariable* left) {
    static std::uint32_t event = 0;
    wait_event(&event, "SyncEngineHoldDatabase");
    const std::int64_t deadline = monotonic_ms() + kHoldPatienceMs;
    ConditionVariablePrepareToSleep(left);
    while (!worker_gone(database)) {
        const std::int64_t rest = deadline - monotonic_ms();
        if (rest <= 0) {
            // The command itself then says who is in the way.
            break;
        }
        ConditionVariableTimedSleep(left, static_cast<long>(rest), event);
    }
    ConditionVariableCancelSleep();
}

}  // namespace

void register_deferred_actions() {
    RegisterXactCallback(on_transaction_end, nullptr);
}

void defer_recheck() {
    deferred.recheck = shared_state() != nullptr;
}

void defer_launcher_cycle() {
    deferred.launcher_cycle = shared_state() != nullptr;
}

void defer_worker_restart(Oid database) {
    if (shared_state() == nullptr) {
        return;
    }
    if (OidIsValid(database)) {
        remember(&deferred.restarts, database);
    } else {
        deferred.restart_all = true;
    }
}

void defer_executor_wake() {
    deferred.executor_wake = shared_state() != nullptr;
}

void hold_database(Oid database) {
    static bool exit_hook_set = false;
    if (shared_state() == nullptr) {
        return;
    }
    if (!exit_hook_set) {
        on_shmem_exit(release_at_exit, static_cast<Datum>(0));
        exit_hook_set = true;
    }
    const bool is_new = !list_member_oid(held, database);
    if (is_new) {
        remember(&held, database);
    }
    lock_slots(LW_EXCLUSIVE);
    // Taken even if the launcher has not come across the database: it must not do so now.
    DatabaseSlot* slot = find_or_take_slot(database);
    if (slot == nullptr) {
        // No slot, no worker.
        unlock_slots();
        held = list_delete_oid(held, database);
        return;
    }
    slot->holders += is_new ? 1 : 0;
    ask_to_leave(slot);
    if (slot->worker_pid != 0) {
        // It cannot be gone while the lock is held. Also reaches one that is still connecting.
        kill(slot->worker_pid, SIGTERM);
    }
    unlock_slots();
    wait_for_worker_to_leave(database, &slot->left);
}

}  // namespace sync_engine

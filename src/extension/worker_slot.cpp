// How a worker enters its slot, reads it and gives it back.
#include "extension/worker_slot.hpp"

extern "C" {
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/proc.h"
}

namespace sync_engine {

namespace {

DatabaseSlot* slot = nullptr;
WorkerExit exit_reason = WorkerExit::crashed;

void give_back_slot(int, Datum) {
    if (exit_reason == WorkerExit::crashed && ProcDiePending) {
        // Stopped while it was still connecting.
        exit_reason = WorkerExit::terminated;
    }
    lock_slots(LW_EXCLUSIVE);
    if (exit_reason == WorkerExit::terminated && slot->leave) {
        exit_reason = WorkerExit::left;
    }
    slot->last_exit = exit_reason;
    slot->state = SlotState::ended;
    slot->worker_pid = 0;
    slot->worker_latch = nullptr;
    ConditionVariableBroadcast(&slot->left);
    nudge_launcher();
    unlock_slots();
}

}  // namespace

bool enter_slot(int index, Oid* database) {
    std::uint64_t launch = 0;
    memcpy(&launch, MyBgworkerEntry->bgw_extra, sizeof launch);
    slot = &shared_state()->slots[index];
    lock_slots(LW_EXCLUSIVE);
    const bool wanted = slot->launch == launch && slot->state == SlotState::starting && slot->holders == 0;
    if (wanted) {
        slot->state = SlotState::running;
        // Cleared before the look that they ask for.
        slot->recheck = slot->leave = false;
        slot->worker_pid = MyProcPid;
        slot->worker_latch = MyLatch;
        slot->started_at = monotonic_ms();
        *database = slot->database;
    }
    unlock_slots();
    if (wanted) {
        on_shmem_exit(give_back_slot, static_cast<Datum>(0));
    }
    return wanted;
}

void set_exit(WorkerExit exit) {
    exit_reason = exit;
}

void confirm_slot() {
    lock_slots(LW_EXCLUSIVE);
    slot->confirmed = true;
    // It starts no more than a few workers that do not know yet whether they have something to do.
    nudge_launcher();
    unlock_slots();
}

SlotOrders read_orders() {
    lock_slots(LW_EXCLUSIVE);
    const SlotOrders orders = {slot->recheck, slot->leave};
    slot->recheck = false;
    unlock_slots();
    return orders;
}

bool changes_wait() {
    return pg_atomic_read_u32(&slot->changed) != 0;
}

void set_changes_wait(bool wait) {
    // A full barrier: what was appended before it was said is seen after this.
    pg_atomic_exchange_u32(&slot->changed, wait ? 1 : 0);
}

}  // namespace sync_engine

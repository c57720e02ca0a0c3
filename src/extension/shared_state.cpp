// Shared memory of the launcher, the workers and the executors that wait.
#include "extension/shared_state.hpp"

#include <ctime>

extern "C" {
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"
}

#include "extension/guc.hpp"
#include "extension/shared_memory.hpp"

namespace sync_engine {

namespace {

constexpr const char* kTrancheName = "sync_engine_workers";

SharedState* state = nullptr;

Size state_size() {
    return add_size(offsetof(SharedState, slots), mul_size(sizeof(DatabaseSlot), guc::max_databases));
}

void reserve() {
    RequestAddinShmemSpace(state_size());
    RequestNamedLWLockTranche(kTrancheName, 1);
}

void initialize() {
    memset(state, 0, state_size());
    state->lock = &GetNamedLWLockTranche(kTrancheName)->lock;
    state->slot_count = guc::max_databases;
    for (WorkChannel& channel : state->channels) {
        // Starting from the clock, no generation repeats one from before a restart.
        pg_atomic_init_u64(&channel.generation, static_cast<uint64>(GetCurrentTimestamp()));
        ConditionVariableInit(&channel.changed);
    }
    for (int i = 0; i < state->slot_count; i++) {
        ConditionVariableInit(&state->slots[i].left);
        pg_atomic_init_u32(&state->slots[i].changed, 0);
    }
}

void find_state() {
    bool found = false;
    state = static_cast<SharedState*>(ShmemInitStruct("sync_engine workers", state_size(), &found));
    if (!found) {
        initialize();
    }
}

}  // namespace

void request_shared_state() {
    use_shared_memory(reserve, find_state);
}

SharedState* shared_state() {
    return state;
}

void lock_slots(LWLockMode mode) {
    LWLockAcquire(state->lock, mode);
}

void unlock_slots() {
    LWLockRelease(state->lock);
}

DatabaseSlot* find_slot(Oid database) {
    for (int i = 0; i < state->slot_count; i++) {
        if (state->slots[i].database == database) {
            return &state->slots[i];
        }
    }
    return nullptr;
}

DatabaseSlot* find_or_take_slot(Oid database) {
    DatabaseSlot* slot = find_slot(database);
    if (slot != nullptr) {
        return slot;
    }
    slot = find_slot(InvalidOid);
    if (slot != nullptr) {
        // launch goes on counting, so that a late worker of the former owner cannot take the slot.
        slot->database = database;
        slot->state = SlotState::pending;
        slot->confirmed = slot->recheck = slot->leave = false;
        slot->holders = slot->crashes = 0;
        slot->worker_pid = 0;
        slot->worker_latch = nullptr;
        slot->started_at = slot->not_before = 0;
    }
    return slot;
}

void nudge_worker(DatabaseSlot* slot) {
    if (slot->worker_latch != nullptr) {
        SetLatch(slot->worker_latch);
    }
}

void nudge_launcher() {
    if (state->launcher_latch != nullptr) {
        SetLatch(state->launcher_latch);
    }
}

WorkChannel* channel_of(Oid database) {
    return &state->channels[database % kWorkChannels];
}

std::int64_t monotonic_ms() {
    timespec now = {};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<std::int64_t>(now.tv_sec) * 1000 + now.tv_nsec / 1000000;
}

std::uint32_t wait_event(std::uint32_t* cached, [[maybe_unused]] const char* name) {
    if (*cached == 0) {
#if PG_VERSION_NUM >= 170000
        *cached = WaitEventExtensionNew(name);
#else
        *cached = PG_WAIT_EXTENSION;
#endif
    }
    return *cached;
}

}  // namespace sync_engine

// What the launcher, the workers and ordinary backends know of each other: a slot for each database that has,
// or may have, a worker, and the channels on which executors wait for work. Lives in shared memory, so it
// exists only where the library is preloaded; everything here is plain data.
#pragma once

#include "extension/compat.hpp"

extern "C" {
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
}

namespace sync_engine {

inline constexpr const char* kExtensionName = "sync_engine";

enum class SlotState : std::uint8_t {
    pending,   // wants a worker, once not_before has come and nobody holds the database
    starting,  // a worker was registered and has not reported yet
    running,   // worker_pid and worker_latch are set
    ended,     // the worker is gone; the launcher has not looked at last_exit yet
};

enum class WorkerExit : std::uint8_t {
    crashed,     // by an error: comes back with backoff
    terminated,  // by a SIGTERM that nobody here sent: comes back after a second
    left,        // because the slot said so: comes back at once, unless the database is held
    absent,      // the extension is not there, or no longer
};

// Guarded by SharedState::lock. Times are monotonic_ms().
struct DatabaseSlot {
    Oid database;  // InvalidOid: the slot is free
    SlotState state;
    WorkerExit last_exit;
    bool confirmed;            // the worker has seen the extension
    bool recheck;              // the worker, or a new one, shall look at the database again
    bool leave;                // the worker shall end
    int holders;               // transactions whose command needs the database without a connection
    int crashes;               // in a row
    pid_t worker_pid;          // 0: none
    Latch* worker_latch;       // in shared memory too; null: none
    pg_atomic_uint32 changed;  // 1: the worker has changes to tell. Needs no lock
    std::uint64_t launch;      // which launch the slot waits for or has: a worker of an older one goes away
    std::int64_t started_at;
    std::int64_t not_before;
    ConditionVariable left;  // signalled when worker_pid becomes 0
};

// Databases share channels by their OID: a waiter looks for itself whether the wake-up was meant for it.
struct WorkChannel {
    pg_atomic_uint64 generation;  // grows with each commit that made work
    ConditionVariable changed;
};

inline constexpr int kWorkChannels = 128;

struct SharedState {
    LWLock* lock;
    Latch* launcher_latch;  // null: no launcher runs
    WorkChannel channels[kWorkChannels];
    int slot_count;
    DatabaseSlot slots[FLEXIBLE_ARRAY_MEMBER];
};

// Reserves the memory; for _PG_init, while preloading and after the settings are defined.
void request_shared_state();

// Null where the library is not preloaded.
SharedState* shared_state();

void lock_slots(LWLockMode mode);
void unlock_slots();

// The slot of `database`, or null. The lock must be held.
DatabaseSlot* find_slot(Oid database);
// The same, with a free slot taken for it if it has none; null if all are taken. Exclusive lock.
DatabaseSlot* find_or_take_slot(Oid database);

// Tells the worker of the slot that one of its flags has changed. The lock must be held.
void nudge_worker(DatabaseSlot* slot);
// Makes the launcher run a cycle at once. The lock must be held.
void nudge_launcher();

WorkChannel* channel_of(Oid database);

// Milliseconds that no change of the clock moves; the same in every process of the machine.
std::int64_t monotonic_ms();

// The wait event that pg_stat_activity shows; PostgreSQL 17 and later know it by its name. `cached` is static
// and was 0 at first.
std::uint32_t wait_event(std::uint32_t* cached, const char* name);

}  // namespace sync_engine

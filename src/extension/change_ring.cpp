// The ring and the watches in shared memory. Tenants share watches by their hash: what is noted needlessly
// for one that nobody watches is read by nobody.
#include "extension/change_ring.hpp"

#include "extension/shared_memory.hpp"
#include "extension/shared_state.hpp"

extern "C" {
#include "access/xlog.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"
}

namespace sync_engine {
namespace {

constexpr char kTrancheName[] = "sync_engine_changes";
constexpr std::uint64_t kEntries = 16384;

// All but `until` is guarded by the lock. Times are monotonic_ms().
struct Watch {
    pg_atomic_uint64 until;
    std::uint64_t begun;  // watches_begun, with this one
    std::uint64_t first;  // position at which it began: nothing before has been noted without gaps
    std::uint64_t last;   // position after its last change
};

// Leads to the one before of the same watch, so that a tenant's changes are read without those of others, and
// found however many of those have come since.
struct Entry {
    Change change;
    std::uint64_t before;  // position after that one, or at which the watch began
};

struct Ring {
    pg_atomic_uint64 watched_until;  // by whichever watch lasts longest; 0: by none
    pg_atomic_uint64 watches_begun;
    LWLock* lock;
    std::uint64_t epoch;
    std::uint64_t position;
    Watch watches[kWatches];
    Entry entries[kEntries];
};

Ring* ring = nullptr;

void request_shared_memory() {
    RequestAddinShmemSpace(sizeof(Ring));
    RequestNamedLWLockTranche(kTrancheName, 1);
}

void find_shared_memory() {
    bool found = false;
    ring = static_cast<Ring*>(ShmemInitStruct("sync_engine changes", sizeof(Ring), &found));
    if (found) {
        return;
    }
    memset(ring, 0, sizeof(Ring));
    ring->lock = &GetNamedLWLockTranche(kTrancheName)->lock;
    // Of the clock, so that no position from before a restart is taken for one of now.
    ring->epoch = static_cast<std::uint64_t>(GetCurrentTimestamp());
    pg_atomic_init_u64(&ring->watched_until, 0);
    pg_atomic_init_u64(&ring->watches_begun, 0);
    for (Watch& watch : ring->watches) {
        pg_atomic_init_u64(&watch.until, 0);
    }
}

bool lasts(pg_atomic_uint64* until, std::int64_t now) {
    return pg_atomic_read_u64(until) > static_cast<std::uint64_t>(now);
}

// The lock must be held by these.
void append(const Change& change) {
    Watch& watch = ring->watches[change.tenant % kWatches];
    ring->entries[ring->position % kEntries] = {change, watch.last};
    watch.last = ++ring->position;
}

void append_reset(int watch) {
    append({MyDatabaseId, ChangeKind::reset_watch, static_cast<std::uint64_t>(watch), 0, 0});
}

void append_resets_of_all() {
    const std::int64_t now = monotonic_ms();
    for (int i = 0; i < kWatches; ++i) {
        if (lasts(&ring->watches[i].until, now)) {
            append_reset(i);
        }
    }
}

bool passed_by(const Unnoted& unnoted, int watch) {
    return unnoted.all || (unnoted.watches[watch / 64] >> (watch % 64) & 1) != 0;
}

// Whoever began to watch meanwhile may have read what was before this transaction.
void append_resets(const Unnoted& unnoted) {
    for (int i = 0; i < kWatches; ++i) {
        if (ring->watches[i].begun > unnoted.since && passed_by(unnoted, i)) {
            append_reset(i);
        }
    }
}

bool is_overwritten(std::uint64_t position) {
    return ring->position - position > kEntries;
}

}  // namespace

void changes_init() {
    use_shared_memory(request_shared_memory, find_shared_memory);
}

bool changes_available() {
    return ring != nullptr && !RecoveryInProgress();
}

std::uint64_t tenant_hash(std::string_view tenant) {
    // Not to be reckoned by whoever chooses the names of tenants.
    return hash_bytes_extended(reinterpret_cast<const unsigned char*>(tenant.data()),
                               static_cast<int>(tenant.size()), GetSystemIdentifier() + MyDatabaseId);
}

int watch_of(std::uint64_t tenant) {
    return static_cast<int>(tenant % kWatches);
}

std::uint64_t ring_epoch() {
    return ring->epoch;
}

std::uint64_t ring_position() {
    LWLockAcquire(ring->lock, LW_SHARED);
    const std::uint64_t position = ring->position;
    LWLockRelease(ring->lock);
    return position;
}

std::uint64_t watch_tenant(std::uint64_t tenant, std::int64_t ms) {
    LWLockAcquire(ring->lock, LW_EXCLUSIVE);
    const std::int64_t now = monotonic_ms();
    const auto until = static_cast<std::uint64_t>(now + ms);
    Watch& watch = ring->watches[watch_of(tenant)];
    const bool begins = !lasts(&watch.until, now);
    pg_atomic_write_u64(&watch.until, Max(pg_atomic_read_u64(&watch.until), until));
    pg_atomic_write_u64(&ring->watched_until, Max(pg_atomic_read_u64(&ring->watched_until), until));
    if (begins) {
        // Counted once it can be seen: whoever passes it by has an older count then, and will find out.
        watch.begun = pg_atomic_add_fetch_u64(&ring->watches_begun, 1);
        // A position of its own, behind those at which the tenant was not watched: no entry is in it.
        ring->entries[ring->position % kEntries] = {};
        watch.first = watch.last = ++ring->position;
    }
    const std::uint64_t position = ring->position;
    LWLockRelease(ring->lock);
    return position;
}

std::uint64_t watches_begun() {
    const std::uint64_t begun = pg_atomic_read_u64(&ring->watches_begun);
    pg_read_barrier();
    return begun;
}

bool anybody_watches() {
    std::uint64_t until = pg_atomic_read_u64(&ring->watched_until);
    if (until == 0) {
        return false;
    }
    if (until > static_cast<std::uint64_t>(monotonic_ms())) {
        return true;
    }
    // So that nobody looks at the clock again, unless it was prolonged just now.
    pg_atomic_compare_exchange_u64(&ring->watched_until, &until, 0);
    return false;
}

bool is_watched(std::uint64_t tenant) {
    return lasts(&ring->watches[watch_of(tenant)].until, monotonic_ms());
}

bool publish_changes(const ChangeSet* changes, bool everything, const Unnoted& unnoted) {
    const bool began = unnoted.any && watches_begun() != unnoted.since;
    if (changes == nullptr && !everything && !began) {
        return false;
    }
    LWLockAcquire(ring->lock, LW_EXCLUSIVE);
    const std::uint64_t before = ring->position;
    if (everything) {
        append_resets_of_all();
    } else {
        for (int i = 0; changes != nullptr && i < changes->count; ++i) {
            append(changes->items[i]);
        }
        if (began) {
            append_resets(unnoted);
        }
    }
    const bool appended = ring->position != before;
    LWLockRelease(ring->lock);
    return appended;
}

bool look_for_changes(std::uint64_t tenant, std::uint64_t after, std::uint64_t* position,
                      std::uint64_t* last) {
    LWLockAcquire(ring->lock, LW_SHARED);
    *position = ring->position;
    Watch& watch = ring->watches[watch_of(tenant)];
    *last = watch.last;
    const bool known = after >= watch.first && after <= ring->position && lasts(&watch.until, monotonic_ms());
    LWLockRelease(ring->lock);
    return known;
}

bool copy_changes_back(std::uint64_t* last, std::uint64_t after, PlacedChange (&chunk)[kChunk], int* count) {
    *count = 0;
    LWLockAcquire(ring->lock, LW_SHARED);
    bool there = true;
    while (*last > after && *count < kChunk && there) {
        there = !is_overwritten(*last - 1);
        if (there) {
            const Entry& entry = ring->entries[(*last - 1) % kEntries];
            chunk[(*count)++] = {entry.change, *last};
            *last = entry.before;
        }
    }
    LWLockRelease(ring->lock);
    return there;
}

bool copy_changes(std::uint64_t from, std::uint64_t until, Change (&chunk)[kChunk], int* count) {
    LWLockAcquire(ring->lock, LW_SHARED);
    const bool there = from == until || !is_overwritten(from);
    *count = there ? static_cast<int>(Min(until - from, static_cast<std::uint64_t>(kChunk))) : 0;
    for (int i = 0; i < *count; ++i) {
        chunk[i] = ring->entries[(from + static_cast<std::uint64_t>(i)) % kEntries].change;
    }
    LWLockRelease(ring->lock);
    return there;
}

}  // namespace sync_engine

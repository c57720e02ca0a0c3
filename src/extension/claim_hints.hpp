// Where claims begin to read. A lane is what a claim reads as one range of an index: the queued jobs of a
// provider and a priority, by due time and id. While an old snapshot holds back vacuum, the entries of jobs
// that were claimed long ago stay in front of the lane's first job, and each claim would walk over all of
// them. So shared memory keeps a hint for each lane: up to there nothing is queued.
//
//   - A claim raises the hint when it commits: to just before the first job that its snapshot showed, locked
//   by others or
//     not, or to its own time where it saw none.
//   - A transaction that queues a job pulls the hint back when it commits, before it wakes anybody. A claim
//   whose
//     snapshot is older must not raise the hint past that: what was pulled back is remembered by epoch, and
//     each claim begins one before it takes its snapshot.
//   - Whatever escapes that (COMMIT PREPARED, a trigger that was switched off) is found within a second: a
//   hint rests on a
//     look from the lane's front, and an older one is not trusted. Where such a look takes longer, it is
//     trusted longer: those looks must not take most of the time.
//
// Lives in shared memory, so it exists only where the library is preloaded; everything here is plain data.
#pragma once

#include "extension/compat.hpp"

extern "C" {
#include "datatype/timestamp.h"
}

namespace sync_engine {

// A lane whose provider has a longer slug has no hint.
inline constexpr int kLaneSlugSize = 64;

// What the tick reads is a lane too: the connections that are due, by due time and id. No provider has its
// slug.
enum class LaneKind { queue, tick };

// Unused bytes of the slug are zero.
struct LaneName {
    Oid database;
    int32 priority;
    char slug[kLaneSlugSize];
};

// Of a job in its lane.
struct LanePosition {
    TimestampTz due;
    std::int64_t id;
};

inline constexpr LanePosition kLaneFront = {PG_INT64_MIN, PG_INT64_MIN};

inline bool operator<(const LanePosition& a, const LanePosition& b) {
    return a.due != b.due ? a.due < b.due : a.id < b.id;
}

// What a claim is told of a lane, and what it found there.
struct LaneLook {
    int lane;                  // its place in shared memory; -1: none was free
    std::uint64_t born;        // tells a lane from an earlier one in that place
    std::int64_t verified_ms;  // what the hint rested on
    bool from_front;           // the hint was not used
    LanePosition after;        // jobs at or before it need not be read
    std::int64_t found_ms;     // when the first one was found, 0: not noted
    bool looked;               // the lane was read, and
    bool found;                // had a job:
    LanePosition first;        // the first one
};

// A job that a transaction queued.
struct QueuedJob {
    LaneName lane;
    TimestampTz due;
};

// Reserves shared memory and chains the hooks. For _PG_init; does nothing without preloading.
void claim_hints_init();

// Whether there are hints. All below needs them.
bool claim_hints_available();

// Begins an epoch of the lanes of that kind, before the caller takes the snapshot by which it looks. Ticks
// and claims do not count each other's: a tick is long, and a lane remembers what a few epochs pulled back.
std::uint64_t begin_epoch(LaneKind kind);

// Where to begin in the lane. A claim (`claiming`) makes the lane known, and is sometimes sent to the lane's
// front to see whether something has escaped. Times are monotonic_ms().
LaneLook look_at_lane(const LaneName& name, bool claiming, std::int64_t now_ms);

// The highest known priority of the lane's provider that is lower than `below`; false when there is none.
bool next_known_lane(const LaneName& provider, std::int64_t below, int32* priority);

// What a claim saw that has committed. It had begun `epoch` at started_ms. Raises nothing.
void raise_hints(const LaneLook* looks, int count, std::uint64_t epoch, std::int64_t started_ms,
                 TimestampTz as_of);

// What a transaction queued that has committed. Raises nothing.
void pull_back_hints(const QueuedJob* jobs, int count);
// The same for all lanes of a database, with a job at the front of each.
void pull_back_all_hints(Oid database);

// For _PG_init: what is undone by a rollback to a savepoint raises no hint. Does nothing without preloading.
void register_claim_actions();

// A job that this transaction has queued without the trigger.
void note_queued(const text* slug, int32 priority, TimestampTz due);

// At the end of a transaction: raises and pulls back what it has to, in a commit, and forgets.
void settle_claim_hints(bool committed);

}  // namespace sync_engine

// The hints in shared memory: a table of a fixed size under one lock, held for the time of a look at a lane.
#include "extension/claim_hints.hpp"

#include "extension/shared_memory.hpp"
#include "extension/shared_state.hpp"

extern "C" {
#include "access/twophase.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
}

namespace sync_engine {
namespace {

constexpr char kTrancheName[] = "sync_engine_claims";
constexpr int kMaxLanes = 1024;
constexpr int kBuckets = 256;
// A hint outlives so many claims that begin while another one looks.
constexpr int kEpochs = 16;
// Hints are trusted for so long. Earlier one claim looks from the front for all.
constexpr std::int64_t kTrustMs = 1000;
constexpr std::int64_t kVerifyMs = 500;
// Looks from the front take no more than this part of the time, where nothing but a trigger that was switched
// off could have escaped; and where transactions can be prepared.
constexpr std::int64_t kVerifyPart = 10;
constexpr std::int64_t kVerifyPartPrepared = 4;
constexpr int kNoLane = -1;

struct PulledBack {
    std::uint64_t epoch;
    TimestampTz due;
};

struct Lane {
    LaneName name;
    int next;  // in its bucket, or kNoLane
    std::uint64_t born;
    std::int64_t verified_ms;  // when the look from the front began that the hint rests on; 0: there was none
    std::int64_t verifying_ms;    // when a claim last began one
    std::int64_t verified_in_ms;  // how long that look, the last one that ended, took
    std::int64_t asked_ms;        // when a claim last came
    LanePosition hint;
    PulledBack pulled_back[kEpochs];
};

struct ClaimHints {
    LWLock* lock;
    std::uint64_t epochs[2];  // by LaneKind
    int count;
    int buckets[kBuckets];
    Lane lanes[kMaxLanes];
};

ClaimHints* hints = nullptr;

void request_shared_memory() {
    RequestAddinShmemSpace(sizeof(ClaimHints));
    RequestNamedLWLockTranche(kTrancheName, 1);
}

void find_shared_memory() {
    bool found = false;
    hints = static_cast<ClaimHints*>(ShmemInitStruct("sync_engine claims", sizeof(ClaimHints), &found));
    if (!found) {
        memset(hints, 0, sizeof(ClaimHints));
        hints->lock = &GetNamedLWLockTranche(kTrancheName)->lock;
        for (int& bucket : hints->buckets) {
            bucket = kNoLane;
        }
    }
}

std::uint64_t& epoch_of(LaneKind kind) {
    return hints->epochs[static_cast<int>(kind)];
}

std::uint64_t& epoch_of(const LaneName& name) {
    return epoch_of(name.slug[0] == '\0' ? LaneKind::tick : LaneKind::queue);
}

// All lanes of a provider are in one bucket.
int* bucket_of(const LaneName& name) {
    const uint32 hash = hash_bytes(reinterpret_cast<const unsigned char*>(name.slug), sizeof name.slug);
    return &hints->buckets[(hash ^ name.database) % kBuckets];
}

bool same_provider(const LaneName& a, const LaneName& b) {
    return a.database == b.database && memcmp(a.slug, b.slug, sizeof a.slug) == 0;
}

Lane* find_lane(const LaneName& name) {
    for (int i = *bucket_of(name); i != kNoLane; i = hints->lanes[i].next) {
        Lane* lane = &hints->lanes[i];
        if (lane->name.priority == name.priority && same_provider(lane->name, name)) {
            return lane;
        }
    }
    return nullptr;
}

void unlink_lane(int index) {
    int* link = bucket_of(hints->lanes[index].name);
    while (*link != index) {
        link = &hints->lanes[*link].next;
    }
    *link = hints->lanes[index].next;
}

// The place of the lane that nobody has asked for in the longest time, if that is long enough.
int forget_oldest_lane(std::int64_t now_ms) {
    int oldest = 0;
    for (int i = 1; i < hints->count; ++i) {
        if (hints->lanes[i].asked_ms < hints->lanes[oldest].asked_ms) {
            oldest = i;
        }
    }
    if (now_ms - hints->lanes[oldest].asked_ms <= kTrustMs) {
        return kNoLane;
    }
    unlink_lane(oldest);
    return oldest;
}

// Null when all places are taken by lanes in use.
Lane* make_lane(const LaneName& name, std::int64_t now_ms) {
    const int index = hints->count < kMaxLanes ? hints->count++ : forget_oldest_lane(now_ms);
    if (index == kNoLane) {
        return nullptr;
    }
    Lane* lane = &hints->lanes[index];
    memset(lane, 0, sizeof *lane);
    lane->name = name;
    lane->hint = kLaneFront;
    // Later than any claim that is looking: what was queued since those began is not remembered here.
    lane->born = ++epoch_of(name);
    int* bucket = bucket_of(name);
    lane->next = *bucket;
    *bucket = index;
    return lane;
}

void pull_back(Lane* lane, TimestampTz due) {
    const std::uint64_t epoch = epoch_of(lane->name);
    PulledBack& pulled_back = lane->pulled_back[epoch % kEpochs];
    if (pulled_back.epoch != epoch) {
        pulled_back = {epoch, due};
    } else {
        pulled_back.due = Min(pulled_back.due, due);
    }
    const LanePosition before = {due, PG_INT64_MIN};
    if (before < lane->hint) {
        lane->hint = before;
    }
}

// How far the claim knows the lane to be empty, less what was queued since it began.
LanePosition seen_empty(const Lane& lane, const LaneLook& look, std::uint64_t epoch, TimestampTz as_of) {
    LanePosition position = {as_of, PG_INT64_MAX};
    if (look.found) {
        position = {look.first.due, look.first.id - 1};
    } else if (position < look.after) {
        position = look.after;
    }
    for (const PulledBack& pulled_back : lane.pulled_back) {
        const LanePosition before = {pulled_back.due, PG_INT64_MIN};
        if (pulled_back.epoch >= epoch && before < position) {
            position = before;
        }
    }
    return position;
}

std::int64_t verify_part() {
    return max_prepared_xacts > 0 ? kVerifyPartPrepared : kVerifyPart;
}

std::int64_t trust_ms(const Lane& lane) {
    return Max(kTrustMs, verify_part() * lane.verified_in_ms);
}

void raise_hint(const LaneLook& look, std::uint64_t epoch, std::int64_t started_ms, TimestampTz as_of) {
    Lane* lane = &hints->lanes[look.lane];
    if (lane->born != look.born || lane->born > epoch || epoch_of(lane->name) - epoch >= kEpochs) {
        return;
    }
    const LanePosition position = seen_empty(*lane, look, epoch, as_of);
    if (look.from_front) {
        // Also lowers it: what had escaped was found.
        if (started_ms > lane->verified_ms) {
            lane->verified_ms = started_ms;
            lane->verified_in_ms = (look.found_ms > 0 ? look.found_ms : monotonic_ms()) - started_ms;
            lane->hint = position;
        }
    } else if (lane->verified_ms == look.verified_ms && lane->hint < position) {
        lane->hint = position;
    }
}

// Whether the claim shall look from the front, although others may still trust the hint.
bool takes_over_verifying(Lane* lane, std::int64_t now_ms) {
    const std::int64_t wait_ms = Max(kVerifyMs, (verify_part() - 1) * lane->verified_in_ms);
    if (now_ms - lane->verified_ms <= wait_ms ||
        now_ms - lane->verifying_ms <= Max(kVerifyMs, 2 * lane->verified_in_ms)) {
        return false;
    }
    lane->verifying_ms = now_ms;
    return true;
}

}  // namespace

void claim_hints_init() {
    use_shared_memory(request_shared_memory, find_shared_memory);
}

bool claim_hints_available() {
    return hints != nullptr;
}

std::uint64_t begin_epoch(LaneKind kind) {
    LWLockAcquire(hints->lock, LW_EXCLUSIVE);
    const std::uint64_t epoch = ++epoch_of(kind);
    LWLockRelease(hints->lock);
    return epoch;
}

LaneLook look_at_lane(const LaneName& name, bool claiming, std::int64_t now_ms) {
    LaneLook look = {kNoLane, 0, 0, true, kLaneFront, 0, false, false, kLaneFront};
    LWLockAcquire(hints->lock, claiming ? LW_EXCLUSIVE : LW_SHARED);
    Lane* lane = find_lane(name);
    if (lane == nullptr && claiming) {
        lane = make_lane(name, now_ms);
    }
    if (lane != nullptr) {
        look.lane = static_cast<int>(lane - hints->lanes);
        look.born = lane->born;
        look.verified_ms = lane->verified_ms;
        look.from_front = now_ms - lane->verified_ms > trust_ms(*lane);
        if (claiming) {
            lane->asked_ms = now_ms;
            look.from_front = takes_over_verifying(lane, now_ms) || look.from_front;
        }
        if (!look.from_front) {
            look.after = lane->hint;
        }
    }
    LWLockRelease(hints->lock);
    return look;
}

bool next_known_lane(const LaneName& provider, std::int64_t below, int32* priority) {
    bool found = false;
    LWLockAcquire(hints->lock, LW_SHARED);
    for (int i = *bucket_of(provider); i != kNoLane; i = hints->lanes[i].next) {
        const LaneName& name = hints->lanes[i].name;
        if (name.priority < below && (!found || name.priority > *priority) && same_provider(name, provider)) {
            *priority = name.priority;
            found = true;
        }
    }
    LWLockRelease(hints->lock);
    return found;
}

void raise_hints(const LaneLook* looks, int count, std::uint64_t epoch, std::int64_t started_ms,
                 TimestampTz as_of) {
    LWLockAcquire(hints->lock, LW_EXCLUSIVE);
    for (int i = 0; i < count; ++i) {
        if (looks[i].lane != kNoLane && looks[i].looked) {
            raise_hint(looks[i], epoch, started_ms, as_of);
        }
    }
    LWLockRelease(hints->lock);
}

void pull_back_hints(const QueuedJob* jobs, int count) {
    LWLockAcquire(hints->lock, LW_EXCLUSIVE);
    for (int i = 0; i < count; ++i) {
        // A lane that is not known has no hint.
        if (Lane* lane = find_lane(jobs[i].lane)) {
            pull_back(lane, jobs[i].due);
        }
    }
    LWLockRelease(hints->lock);
}

void pull_back_all_hints(Oid database) {
    LWLockAcquire(hints->lock, LW_EXCLUSIVE);
    for (int i = 0; i < hints->count; ++i) {
        if (hints->lanes[i].name.database == database) {
            pull_back(&hints->lanes[i], PG_INT64_MIN);
        }
    }
    LWLockRelease(hints->lock);
}

}  // namespace sync_engine

// What a tick does about a schedule: which planned instants run, and what becomes of those that do not.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/cron.hpp"

namespace sync_engine {

// What becomes of instants that passed while nobody ticked: one run for all of them, none, or one each.
enum class CatchUp { latest, skip, all };
// What becomes of instants that come while a run of the same kind is queued or running.
enum class Overlap { skip, buffer_one };

enum class FireOutcome {
    fired,
    coalesced,
    skipped_overlap,
    skipped_paused,
    skipped_by_user,
    missed,
    dst_gap
};

// Why, where the outcome alone does not tell.
enum class FireReason {
    none,
    adopted,     // they lie before the database was restored or cloned
    late,        // catch_up is skip
    too_old,     // older than the greatest age that is caught up with
    over_limit,  // more than the number that is caught up with
    clock_gap,   // fired after a change of the clocks that skipped the local time
    waited,      // a run was under way
};

struct FirePolicy {
    CronPolicy dst;
    CatchUp catch_up = CatchUp::latest;
    std::int32_t catchup_limit = 1;            // of CatchUp::all, at least 1
    std::int64_t catchup_max_age_seconds = 0;  // of CatchUp::all
    Overlap overlap = Overlap::skip;
    std::int32_t jitter_seconds = 0;
    std::int64_t jitter_seed = 0;                   // one for each schedule
    std::optional<TimestampUs> starts_at, ends_at;  // both included
};

// Where a schedule stands: every instant up to `covered_until` has been seen to.
struct FireState {
    TimestampUs covered_until;
    // The zone's offset then. Where it is another now, the zone's rules have changed since.
    std::optional<std::int32_t> covered_offset;
    std::vector<TimestampUs> skips;  // instants that a user does not want, in order
    bool waited = false;             // what was planned next waited for a live job when it was last looked at
};

struct FireMoment {
    TimestampUs as_of;
    std::int32_t tick_interval_seconds;
    bool looks_ahead;                         // else nothing later than as_of fires
    bool live;                                // a job of that connection and type is queued or running
    bool paused;                              // the schedule, its connection or its provider
    std::optional<TimestampUs> paused_until;  // the pause ended then, at or before as_of
    std::optional<TimestampUs> adopted_at;    // nothing before is caught up with
};

// One row of the ledger: so many planned instants from the first to the last.
struct FireSpan {
    FireOutcome outcome;
    FireReason reason;
    TimestampUs first, last;
    std::int64_t count;
    TimestampUs scheduled_at;  // of fired: with jitter
    bool catch_up;             // of fired: later than a tick would be
};

struct FirePlan {
    std::vector<FireSpan> spans;  // in order of time; at most one is fired
    TimestampUs covered_until;
    std::int32_t covered_offset;
    std::optional<TimestampUs> next;     // the next planned instant
    std::optional<TimestampUs> look_at;  // when a tick has to look again; none: never
    bool waits;                          // instants that have passed wait for the live job to end
};

// Jitter of a planned instant: the same whenever it is asked for, uniform over [0, min(jitter, gap - 1)],
// where `gap` is how many seconds later the following instant is.
std::int64_t fire_jitter(std::int64_t seed, TimestampUs planned, std::int32_t jitter_seconds,
                         std::int64_t gap);

// With N = as_of, C = covered_until, W = max(tick interval, 60 s), the planned instants in (C, N] are
//   skipped_paused while paused; then, if a job is live, skipped_overlap, or left for when it has ended where
//   overlap is buffer_one or catch_up is all; else, by catch_up:
//     latest: the last one fires, those before are coalesced into it
//     skip:   the same with those in (N - W, N]; older ones are missed, but for what waited for a job to end
//     all:    of the newest catchup_limit that are no older than catchup_max_age the first fires, the others
//             are left for when that run has ended; what is older, or too many, is missed
// If nothing fired and no job is live, the first one in (N, N + W] fires ahead of its time.
FirePlan plan_fires(const CronExpression& cron, const TimeZone& zone, const FirePolicy& policy,
                    const FireState& state, const FireMoment& moment);

}  // namespace sync_engine

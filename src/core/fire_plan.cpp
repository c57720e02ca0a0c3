#include "core/fire_plan.hpp"

#include <algorithm>

#include "core/schedule.hpp"

namespace sync_engine {

namespace {

// How often what waits for a job is looked at: a part of the time that it has waited for.
constexpr std::int64_t kFirstLookSeconds = 5;
constexpr std::int64_t kLastLookSeconds = 60;
constexpr std::int64_t kLookPart = 10;

InstantSeconds floor_seconds(TimestampUs t) {
    return t / kMicrosPerSecond - (t % kMicrosPerSecond < 0 ? 1 : 0);
}

std::int32_t offset_at(const TimeZone& zone, TimestampUs instant) {
    return zone.span_at(floor_seconds(instant)).offset;
}

// Of splitmix64 (Steele, Lea and Flood, 2014).
std::uint64_t mix(std::uint64_t x) {
    x += 0x9E3779B97F4A7C15U;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
    return x ^ (x >> 31);
}

class Planner {
  public:
    Planner(const CronExpression& cron, const TimeZone& zone, const FirePolicy& policy,
            const FireState& state, const FireMoment& moment)
        : cron_(cron), zone_(zone), policy_(policy), state_(state), moment_(moment) {
        look_ahead_ = std::max(moment.tick_interval_seconds, kMinLookAheadSeconds);
    }

    FirePlan plan();

  private:
    [[nodiscard]] std::optional<TimestampUs> next(TimestampUs after) const;
    [[nodiscard]] std::optional<TimestampUs> last_wanted(TimestampUs after, TimestampUs until) const;
    [[nodiscard]] bool is_skipped(TimestampUs instant) const;
    [[nodiscard]] TimestampUs begin() const;
    [[nodiscard]] TimestampUs from_start(TimestampUs after) const;
    [[nodiscard]] TimestampUs to_end(TimestampUs until) const;
    void cover(FireOutcome outcome, FireReason reason, TimestampUs until);
    void add_span(FireOutcome outcome, FireReason reason, TimestampUs until);
    void add_gaps(TimestampUs until);
    void fire(TimestampUs instant);
    void catch_up();
    void catch_up_with_all();
    void look_ahead();
    void set_next_look();

    const CronExpression& cron_;
    const TimeZone& zone_;
    const FirePolicy& policy_;
    const FireState& state_;
    const FireMoment& moment_;
    std::int64_t look_ahead_;
    FirePlan plan_{};
    TimestampUs covered_ = 0;
    bool fired_ = false;
};

// The first planned instant later than that.
std::optional<TimestampUs> Planner::next(TimestampUs after) const {
    const std::optional<TimestampUs> found = cron_next(cron_, zone_, from_start(after), policy_.dst);
    return found && policy_.ends_at && *found > *policy_.ends_at ? std::nullopt : found;
}

bool Planner::is_skipped(TimestampUs instant) const {
    return std::binary_search(state_.skips.begin(), state_.skips.end(), instant);
}

// What (after, until] is within the time that the schedule is there for.
TimestampUs Planner::from_start(TimestampUs after) const {
    return policy_.starts_at ? std::max(after, *policy_.starts_at - 1) : after;
}

TimestampUs Planner::to_end(TimestampUs until) const {
    return policy_.ends_at ? std::min(until, *policy_.ends_at) : until;
}

// The last planned instant in (after, until] that no user skips.
std::optional<TimestampUs> Planner::last_wanted(TimestampUs after, TimestampUs until) const {
    after = from_start(after);
    std::optional<TimestampUs> found = cron_previous(cron_, zone_, to_end(until) + 1, policy_.dst);
    while (found && *found > after && is_skipped(*found)) {
        found = cron_previous(cron_, zone_, *found, policy_.dst);
    }
    return found && *found > after ? found : std::nullopt;
}

// From where on instants have to be covered. By the wall clock, where the rules of the zone have changed:
// what has run is not run again, what the new rules skip is not lost.
TimestampUs Planner::begin() const {
    TimestampUs from = state_.covered_until;
    if (state_.covered_offset && !cron_.every_hour) {
        from = add_seconds(from, *state_.covered_offset - offset_at(zone_, from));
    }
    return from;
}

void Planner::add_span(FireOutcome outcome, FireReason reason, TimestampUs until) {
    const std::optional<TimestampUs> first = next(covered_);
    if (first && *first <= until) {
        const TimestampUs last = *cron_previous(cron_, zone_, until + 1, policy_.dst);
        plan_.spans.push_back({outcome, reason, *first, last,
                               cron_count(cron_, zone_, from_start(covered_), until, policy_.dst), 0, false});
    }
    covered_ = std::max(covered_, until);
}

// Local times that a change of the clocks skips, where they do not run.
void Planner::add_gaps(TimestampUs until) {
    TimestampUs from = from_start(covered_);
    while (policy_.dst.gap == DstGap::skip) {
        const std::optional<CronGap> gap = cron_next_gap(cron_, zone_, from, until);
        if (!gap) {
            return;
        }
        plan_.spans.push_back({FireOutcome::dst_gap, FireReason::none, gap->end, gap->end,
                               cron_count_local(cron_, gap->first, gap->last + 1), 0, false});
        from = gap->end;
    }
}

// Gives the planned instants in (covered, until] that outcome, but for those that a user skips.
void Planner::cover(FireOutcome outcome, FireReason reason, TimestampUs until) {
    until = std::max(until, covered_);
    add_gaps(to_end(until));
    for (const TimestampUs skip : state_.skips) {
        if (skip > covered_ && skip <= to_end(until)) {
            add_span(outcome, reason, skip - 1);
            add_span(FireOutcome::skipped_by_user, FireReason::none, skip);
        }
    }
    add_span(outcome, reason, to_end(until));
    covered_ = until;
}

void Planner::fire(TimestampUs instant) {
    add_gaps(instant);
    const std::optional<CronGap> gap = policy_.dst.gap == DstGap::run_after
                                           ? cron_next_gap(cron_, zone_, instant - 1, instant)
                                           : std::nullopt;
    const std::optional<TimestampUs> following = next(instant);
    const std::int64_t distance = following ? (*following - instant) / kMicrosPerSecond : INT64_MAX;
    plan_.spans.push_back(
        {FireOutcome::fired, gap ? FireReason::clock_gap : FireReason::none, instant, instant, 1,
         add_seconds(instant, fire_jitter(policy_.jitter_seed, instant, policy_.jitter_seconds, distance)),
         instant <= add_seconds(moment_.as_of, -look_ahead_) &&
             (policy_.catch_up == CatchUp::all || !state_.waited)});
    covered_ = instant;
    fired_ = true;
}

void Planner::catch_up_with_all() {
    const TimestampUs now = moment_.as_of;
    const TimestampUs oldest = add_seconds(now, -policy_.catchup_max_age_seconds) - 1;
    if (oldest > covered_) {
        cover(FireOutcome::missed, FireReason::too_old, oldest);
    }
    std::optional<TimestampUs> first = last_wanted(covered_, now);
    if (!first) {
        cover(FireOutcome::coalesced, FireReason::none, now);
        return;
    }
    for (int n = 1; n < policy_.catchup_limit; ++n) {
        const std::optional<TimestampUs> before = last_wanted(covered_, *first - 1);
        if (!before) {
            break;
        }
        first = before;
    }
    cover(FireOutcome::missed, FireReason::over_limit, *first - 1);
    fire(*first);
    plan_.waits = last_wanted(covered_, now).has_value();
    if (!plan_.waits) {
        cover(FireOutcome::coalesced, FireReason::none, now);
    }
}

void Planner::catch_up() {
    const TimestampUs now = moment_.as_of;
    if (policy_.catch_up == CatchUp::all) {
        catch_up_with_all();
        return;
    }
    if (policy_.catch_up == CatchUp::skip && !state_.waited) {
        const TimestampUs late = add_seconds(now, -look_ahead_);
        if (late > covered_) {
            cover(FireOutcome::missed, FireReason::late, late);
        }
    }
    if (const std::optional<TimestampUs> last = last_wanted(covered_, now)) {
        cover(FireOutcome::coalesced, state_.waited ? FireReason::waited : FireReason::none, *last - 1);
        fire(*last);
    }
    // What is left is skipped by a user, if anything.
    cover(FireOutcome::coalesced, FireReason::none, now);
}

void Planner::look_ahead() {
    const TimestampUs horizon = add_seconds(moment_.as_of, look_ahead_);
    for (auto instant = next(covered_); instant && *instant <= horizon; instant = next(covered_)) {
        if (!is_skipped(*instant)) {
            fire(*instant);
            return;
        }
        cover(FireOutcome::skipped_by_user, FireReason::none, *instant);
    }
}

void Planner::set_next_look() {
    const TimestampUs now = moment_.as_of;
    plan_.next = next(covered_);
    if (plan_.waits && plan_.next) {
        const std::int64_t waited = (now - *plan_.next) / kMicrosPerSecond;
        plan_.look_at = add_seconds(now, std::clamp(waited / kLookPart, kFirstLookSeconds, kLastLookSeconds));
        return;
    }
    if (!plan_.next) {
        return;
    }
    // Ahead of its time, unless it is known that nothing could be done then. Once a day in any case: the
    // rules of the zone may have changed.
    const TimestampUs ahead = add_seconds(*plan_.next, -look_ahead_);
    const TimestampUs look = ahead > now && !moment_.paused ? ahead : *plan_.next;
    plan_.look_at = std::min(look, add_seconds(now, kSecondsPerDay));
    // What the clocks skip is told when it would have been.
    if (policy_.dst.gap == DstGap::skip) {
        const TimestampUs from = from_start(std::max(covered_, now));
        if (const std::optional<CronGap> gap = cron_next_gap(cron_, zone_, from, *plan_.look_at)) {
            plan_.look_at = gap->end;
        }
    }
}

FirePlan Planner::plan() {
    const TimestampUs now = moment_.as_of;
    covered_ = begin();
    if (moment_.adopted_at && *moment_.adopted_at > covered_) {
        cover(FireOutcome::missed, FireReason::adopted, std::min(*moment_.adopted_at, now));
    }
    if (covered_ < now && (moment_.paused || moment_.paused_until)) {
        cover(FireOutcome::skipped_paused, FireReason::none,
              moment_.paused ? now : std::min(now, *moment_.paused_until - 1));
    }
    if (covered_ < now) {
        if (!moment_.live) {
            catch_up();
        } else if (policy_.overlap == Overlap::buffer_one || policy_.catch_up == CatchUp::all) {
            plan_.waits = last_wanted(covered_, now).has_value();
            if (!plan_.waits) {
                cover(FireOutcome::skipped_overlap, FireReason::none, now);
            }
        } else {
            cover(FireOutcome::skipped_overlap, FireReason::none, now);
        }
    }
    if (moment_.looks_ahead && !fired_ && !moment_.live && !moment_.paused && !plan_.waits) {
        look_ahead();
    }
    plan_.covered_until = covered_;
    plan_.covered_offset = offset_at(zone_, covered_);
    set_next_look();
    return std::move(plan_);
}

}  // namespace

std::int64_t fire_jitter(std::int64_t seed, TimestampUs planned, std::int32_t jitter_seconds,
                         std::int64_t gap) {
    const std::int64_t most = std::min<std::int64_t>(jitter_seconds, gap - 1);
    if (most <= 0) {
        return 0;
    }
    const std::uint64_t drawn =
        mix(mix(static_cast<std::uint64_t>(seed)) ^ static_cast<std::uint64_t>(planned));
    return static_cast<std::int64_t>(drawn % (static_cast<std::uint64_t>(most) + 1));
}

FirePlan plan_fires(const CronExpression& cron, const TimeZone& zone, const FirePolicy& policy,
                    const FireState& state, const FireMoment& moment) {
    return Planner(cron, zone, policy, state, moment).plan();
}

}  // namespace sync_engine

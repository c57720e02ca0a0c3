// Local times of a cron expression put into a time zone: what its changes of the clocks skip and repeat.
#include <algorithm>

#include "core/cron.hpp"

namespace sync_engine {

namespace {

constexpr InstantSeconds kFirstInstant = kTimestampMin / kMicrosPerSecond;
constexpr InstantSeconds kLastInstant = kTimestampMax / kMicrosPerSecond;
// Twice the cycle of the calendar, which zones go through with it: what all fell into gaps by then always
// does.
constexpr std::int64_t kFarthest = 2 * 146'097 * std::int64_t{86'400};

// Local times that occur twice or that a gap skips lie no farther than this from the change of the clocks;
// zones that skipped or repeated a whole day are the extreme.
constexpr std::int64_t kCountReach = 25 * std::int64_t{3600};

InstantSeconds seconds_before(TimestampUs t) {
    return t / kMicrosPerSecond - (t % kMicrosPerSecond < 0 ? 1 : 0);
}

LocalSeconds local_begin(const ZoneSpan& span) {
    return span.begin + span.offset;
}
LocalSeconds local_end(const ZoneSpan& span) {
    return span.end + span.offset;
}

bool holds(const ZoneSpan& span, LocalSeconds local) {
    return local >= local_begin(span) && local < local_end(span);
}

class Search {
  public:
    Search(const CronExpression& cron, const TimeZone& zone, CronPolicy policy)
        : cron_(cron), zone_(zone), policy_(policy) {}

    // The first firing instant at or after, the last at or before.
    [[nodiscard]] std::optional<InstantSeconds> forward(InstantSeconds from) const;
    [[nodiscard]] std::optional<InstantSeconds> backward(InstantSeconds to) const;

    // How many firing instants there are from `from` to `to`, both included.
    [[nodiscard]] std::int64_t count(InstantSeconds from, InstantSeconds to) const;

    [[nodiscard]] LocalTime local_time(InstantSeconds instant) const;

  private:
    [[nodiscard]] bool occurs_earlier(const ZoneSpan& span, LocalSeconds local) const;
    [[nodiscard]] bool occurs_later(const ZoneSpan& span, LocalSeconds local) const;
    [[nodiscard]] bool counts(const ZoneSpan& span, LocalSeconds local) const;
    [[nodiscard]] bool fires_after_gap(const ZoneSpan& span) const;
    [[nodiscard]] std::int64_t count_one_by_one(InstantSeconds from, InstantSeconds to) const;

    const CronExpression& cron_;
    const TimeZone& zone_;
    CronPolicy policy_;
};

bool Search::occurs_earlier(const ZoneSpan& span, LocalSeconds local) const {
    for (ZoneSpan other = span; other.begin > kFirstInstant && other.begin > span.begin - kZoneReach;) {
        const InstantSeconds end = other.begin;
        other = zone_.span_at(end - 1);
        other.end = end;  // the same change of the clocks, or none at all
        if (holds(other, local)) {
            return true;
        }
    }
    return false;
}

bool Search::occurs_later(const ZoneSpan& span, LocalSeconds local) const {
    for (ZoneSpan other = span; other.end <= kLastInstant && other.end < span.end + kZoneReach;) {
        const InstantSeconds begin = other.end;
        other = zone_.span_at(begin);
        other.begin = begin;
        if (holds(other, local)) {
            return true;
        }
    }
    return false;
}

// Whether a matching local time of the span is one that runs.
bool Search::counts(const ZoneSpan& span, LocalSeconds local) const {
    if (cron_.every_hour || policy_.fold == DstFold::both) {
        return true;
    }
    return policy_.fold == DstFold::first ? !occurs_earlier(span, local) : !occurs_later(span, local);
}

// Whether the change of the clocks with which the span begins skipped a matching local time that runs after
// it.
bool Search::fires_after_gap(const ZoneSpan& span) const {
    if (cron_.every_hour || policy_.gap == DstGap::skip || span.begin <= kFirstInstant) {
        return false;
    }
    const ZoneSpan before = zone_.span_at(span.begin - 1);
    if (before.offset >= span.offset) {
        return false;
    }
    const std::optional<LocalSeconds> skipped = cron_at_or_after(cron_, local_end(before));
    return skipped && *skipped < local_begin(span);
}

std::optional<InstantSeconds> Search::forward(InstantSeconds from) const {
    const InstantSeconds last = std::min(kLastInstant, from + kFarthest);
    while (from <= last) {
        const ZoneSpan span = zone_.span_at(from);
        if (from == span.begin && fires_after_gap(span)) {
            return from;
        }
        std::optional<LocalSeconds> local = cron_at_or_after(cron_, from + span.offset);
        while (local && *local < local_end(span)) {
            if (counts(span, *local)) {
                const InstantSeconds found = *local - span.offset;
                return found <= kLastInstant ? std::optional(found) : std::nullopt;
            }
            local = cron_at_or_after(cron_, *local + 1);
        }
        // No instant runs unless its local time, or one that was skipped right before it, matches. What
        // follows the span may be earlier by the wall clock than what was looked at here.
        const std::optional<LocalSeconds> soonest = cron_at_or_after(cron_, from + span.offset - kZoneReach);
        if (!soonest) {
            return std::nullopt;
        }
        from = std::max(span.end, *soonest - kZoneReach);
    }
    return std::nullopt;
}

std::optional<InstantSeconds> Search::backward(InstantSeconds to) const {
    const InstantSeconds first = std::max(kFirstInstant, to - kFarthest);
    while (to >= first) {
        const ZoneSpan span = zone_.span_at(to);
        std::optional<LocalSeconds> local = cron_at_or_before(cron_, to + span.offset);
        while (local && *local >= local_begin(span)) {
            if (counts(span, *local)) {
                const InstantSeconds found = *local - span.offset;
                return found >= kFirstInstant ? std::optional(found) : std::nullopt;
            }
            local = cron_at_or_before(cron_, *local - 1);
        }
        if (fires_after_gap(span)) {
            return span.begin;
        }
        const std::optional<LocalSeconds> latest = cron_at_or_before(cron_, to + span.offset + kZoneReach);
        if (!latest) {
            return std::nullopt;
        }
        to = std::min(span.begin - 1, *latest + kZoneReach);
    }
    return std::nullopt;
}

std::int64_t Search::count_one_by_one(InstantSeconds from, InstantSeconds to) const {
    std::int64_t count = 0;
    for (auto found = forward(from); found && *found <= to; found = forward(*found + 1)) {
        ++count;
    }
    return count;
}

std::int64_t Search::count(InstantSeconds from, InstantSeconds to) const {
    std::int64_t count = 0;
    while (from <= to) {
        // Around a change of the clocks each instant is looked at; between them local times are as good.
        const ZoneSpan span = zone_.span_at(from);
        const InstantSeconds quiet_from = span.begin > from - kCountReach ? span.begin + kCountReach : from;
        const InstantSeconds quiet_to = std::min(to + 1, span.end - kCountReach);
        if (from < quiet_from || quiet_from >= quiet_to) {
            const InstantSeconds until =
                std::min(to, (from < quiet_from ? quiet_from : span.end + kCountReach) - 1);
            count += count_one_by_one(from, until);
            from = until + 1;
            continue;
        }
        count += cron_count_local(cron_, quiet_from + span.offset, quiet_to + span.offset);
        from = quiet_to;
    }
    return count;
}

LocalTime Search::local_time(InstantSeconds instant) const {
    const ZoneSpan span = zone_.span_at(instant);
    if (occurs_earlier(span, instant + span.offset)) {
        return LocalTime::second_of_two;
    }
    return occurs_later(span, instant + span.offset) ? LocalTime::first_of_two : LocalTime::once;
}

std::optional<TimestampUs> timestamp(std::optional<InstantSeconds> seconds) {
    return seconds ? std::optional(*seconds * kMicrosPerSecond) : std::nullopt;
}

}  // namespace

std::optional<TimestampUs> cron_next(const CronExpression& cron, const TimeZone& zone, TimestampUs after,
                                     CronPolicy policy) {
    if (after >= kTimestampMax) {
        return std::nullopt;
    }
    return timestamp(Search(cron, zone, policy).forward(seconds_before(clamp_finite(after)) + 1));
}

std::optional<TimestampUs> cron_previous(const CronExpression& cron, const TimeZone& zone, TimestampUs before,
                                         CronPolicy policy) {
    if (before <= kTimestampMin) {
        return std::nullopt;
    }
    return timestamp(Search(cron, zone, policy).backward(seconds_before(clamp_finite(before) - 1)));
}

std::int64_t cron_count(const CronExpression& cron, const TimeZone& zone, TimestampUs after,
                        TimestampUs until, CronPolicy policy) {
    if (after >= kTimestampMax || until <= after) {
        return 0;
    }
    return Search(cron, zone, policy)
        .count(seconds_before(clamp_finite(after)) + 1, seconds_before(clamp_finite(until)));
}

std::optional<CronGap> cron_next_gap(const CronExpression& cron, const TimeZone& zone, TimestampUs after,
                                     TimestampUs until) {
    if (cron.every_hour || after >= kTimestampMax) {
        return std::nullopt;
    }
    const InstantSeconds last = seconds_before(clamp_finite(until));
    ZoneSpan span = zone.span_at(seconds_before(clamp_finite(after)));
    while (span.end <= last) {
        const ZoneSpan next = zone.span_at(span.end);
        const LocalSeconds begin = span.end + span.offset;
        const LocalSeconds end = span.end + next.offset;
        const std::optional<LocalSeconds> first = begin < end ? cron_at_or_after(cron, begin) : std::nullopt;
        if (first && *first < end) {
            return CronGap{span.end * kMicrosPerSecond, *first, *cron_at_or_before(cron, end - 1)};
        }
        span = next;
    }
    return std::nullopt;
}

LocalTime local_time_at(const TimeZone& zone, TimestampUs instant) {
    static const CronExpression kAny;
    return Search(kAny, zone, {}).local_time(seconds_before(clamp_finite(instant)));
}

}  // namespace sync_engine

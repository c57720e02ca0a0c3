// Cron expressions: their calendar, which knows local times alone, and their way into a time zone.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "core/time.hpp"
#include "core/time_zone.hpp"

namespace sync_engine {

// What an expression asks for. Sets are bit masks: bit n stands for the value n.
struct CronExpression {
    std::uint64_t seconds = 0;
    std::uint64_t minutes = 0;
    std::uint32_t hours = 0;
    std::uint32_t months = 0;  // 1..12

    // Days of the month, 1..31; those whose nearest weekday is meant (15W); how many days before the last (L
    // is bit 0, L-3 bit 3); and the last Monday to Friday (LW).
    std::uint32_t days = 0;
    std::uint32_t nearest_weekdays = 0;
    std::uint32_t days_before_last = 0;
    bool last_working_day = false;

    // Weekdays, Sunday is 0; the nth of a month (bit n of nth_weekdays[weekday], FRI#2); the last (FRIL).
    std::uint8_t weekdays = 0;
    std::array<std::uint8_t, 7> nth_weekdays{};
    std::uint8_t last_weekdays = 0;

    // Whether the field begins with `*`. Vixie's rule: where either does, a day has to satisfy both; where
    // neither does, one of them is enough.
    bool any_day = false;
    bool any_weekday = false;

    // The hour field is `*` or a step of it: such an expression follows real time. Hours that a change of the
    // clocks skips are not made up for, hours that it repeats count twice.
    bool every_hour = false;
    bool has_seconds = false;  // six fields
};

// Why a text is no expression, in words for who wrote it.
struct CronFault {
    std::string message;
    std::string hint;
};

// Reads five fields (minute hour day month weekday), six (seconds first), or @yearly, @annually, @monthly,
// @weekly, @daily, @midnight, @hourly. Fields are lists of values, ranges and steps; months and weekdays have
// English names of three letters in any case; `?` is `*` in the two fields of days; L, L-n, nW and LW are for
// days, nL and n#k for weekdays, of which 0 and 7 are Sunday.
std::variant<CronExpression, CronFault> parse_cron(std::string_view text);

// A local time: seconds since 2000-01-01 00:00 on the wall clock, as if it had never been changed.
using LocalSeconds = std::int64_t;

// The days of a month, as bit masks of 1..31, on which the expression fires. Month 1..12.
std::uint32_t cron_days(const CronExpression& cron, std::int64_t year, int month);

// How many local times from `from` (inclusive) to `to` (exclusive) match.
std::int64_t cron_count_local(const CronExpression& cron, LocalSeconds from, LocalSeconds to);

// Whether the wall clock at that time is one that the expression asks for.
bool cron_matches(const CronExpression& cron, LocalSeconds local);

// The first matching local time at or after, and the last at or before, that one. nullopt where there is none
// within 400 years, after which the calendar repeats: then there is none at all.
std::optional<LocalSeconds> cron_at_or_after(const CronExpression& cron, LocalSeconds local);
std::optional<LocalSeconds> cron_at_or_before(const CronExpression& cron, LocalSeconds local);

// What becomes of a local time that a change of the clocks skips: it runs at the first instant after the gap
// (several make one run), or not at all.
enum class DstGap { run_after, skip };
// And of one that occurs twice.
enum class DstFold { first, second, both };

struct CronPolicy {
    DstGap gap = DstGap::run_after;
    DstFold fold = DstFold::first;
};

// The first instant later than `after`, and the last earlier than `before`, at which the expression fires in
// that zone. A whole second. nullopt where there is none in the finite range.
std::optional<TimestampUs> cron_next(const CronExpression& cron, const TimeZone& zone, TimestampUs after,
                                     CronPolicy policy);
std::optional<TimestampUs> cron_previous(const CronExpression& cron, const TimeZone& zone, TimestampUs before,
                                         CronPolicy policy);

// How many instants later than `after` and not later than `until` fire. Days are counted, not instants: a
// year of `* * * * * *` takes no longer than one of `0 0 * * *`, but for the hours around changes of the
// clocks.
std::int64_t cron_count(const CronExpression& cron, const TimeZone& zone, TimestampUs after,
                        TimestampUs until, CronPolicy policy);

// A change of the clocks that skips local times which the expression asks for.
struct CronGap {
    TimestampUs end;  // the first instant after it
    LocalSeconds first, last;
};

// The first such change later than `after` and not later than `until`. None for an expression that follows
// real time.
std::optional<CronGap> cron_next_gap(const CronExpression& cron, const TimeZone& zone, TimestampUs after,
                                     TimestampUs until);

// Which occurrence of its local time an instant is.
enum class LocalTime { once, first_of_two, second_of_two };
LocalTime local_time_at(const TimeZone& zone, TimestampUs instant);

// The expression in plain English, for example "at 02:30 on Monday and Wednesday".
std::string describe_cron(const CronExpression& cron);

}  // namespace sync_engine

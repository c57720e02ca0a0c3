// Points in time as the engine keeps them, and their ISO 8601 text. Pure: no clock, no time zone data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sync_engine {

// Microseconds since 2000-01-01 00:00 UTC, which is the epoch and the unit of PostgreSQL's timestamptz.
using TimestampUs = std::int64_t;

inline constexpr TimestampUs kMicrosPerSecond = 1'000'000;
inline constexpr std::int64_t kSecondsPerDay = 86'400;
// From 1970-01-01, where Unix time begins, to 2000-01-01.
inline constexpr std::int64_t kUnixEpochOffset = 946'684'800;
inline constexpr TimestampUs kTimestampNegInfinity = INT64_MIN;
inline constexpr TimestampUs kTimestampInfinity = INT64_MAX;
// Finite range of timestamptz: 4714-11-24 BC inclusive to 294277-01-01 exclusive, proleptic Gregorian.
inline constexpr TimestampUs kTimestampMin = -211'813'488'000'000'000;
inline constexpr TimestampUs kTimestampEnd = 9'223'371'331'200'000'000;
inline constexpr TimestampUs kTimestampMax = kTimestampEnd - 1;

constexpr bool is_finite(TimestampUs t) {
    return t >= kTimestampMin && t < kTimestampEnd;
}

// The nearest finite time; the infinities become the ends of the finite range.
constexpr TimestampUs clamp_finite(TimestampUs t) {
    return t < kTimestampMin ? kTimestampMin : t > kTimestampMax ? kTimestampMax : t;
}

// t + seconds, cut to the finite range instead of overflowing. Any t and any number of seconds is allowed.
constexpr TimestampUs add_seconds(TimestampUs t, std::int64_t seconds) {
    TimestampUs micros = 0;
    TimestampUs sum = 0;
    if (__builtin_mul_overflow(seconds, kMicrosPerSecond, &micros) ||
        __builtin_add_overflow(clamp_finite(t), micros, &sum)) {
        return seconds < 0 ? kTimestampMin : kTimestampMax;
    }
    return clamp_finite(sum);
}

// Days from 2000-01-01 to a civil date of the proleptic Gregorian calendar (year 0 = 1 BC). Month 1..12;
// days outside the month count on. Eras of 400 years of 146097 days, years that begin on March 1.
constexpr std::int64_t days_from_civil(std::int64_t year, int month, int day) {
    year -= month <= 2 ? 1 : 0;
    const std::int64_t era = (year >= 0 ? year : year - 399) / 400;
    const std::int64_t year_of_era = year - era * 400;
    const std::int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    const std::int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146'097 + day_of_era - 730'425;
}

constexpr int days_in_month(std::int64_t year, int month) {
    return static_cast<int>(days_from_civil(month == 12 ? year + 1 : year, month == 12 ? 1 : month + 1, 1) -
                            days_from_civil(year, month, 1));
}

struct CivilDate {
    std::int64_t year;
    int month;
    int day;
};

// The inverse of days_from_civil.
CivilDate civil_from_days(std::int64_t days);

// Reads ISO 8601: YYYY-MM-DD, or that with 'T' or a blank and HH:MM[:SS[.fraction]], then 'Z', ±HH, ±HHMM,
// ±HH:MM or nothing, which is UTC. Years of five or six digits and '-' before the year (astronomical: -0001
// is 2 BC) are read too, so that whatever format_utc writes comes back. Fractions are rounded to
// microseconds; 24:00:00 and second 60 mean the next day and minute. nullopt for anything else, or outside
// the finite range.
std::optional<TimestampUs> parse_utc(std::string_view text);

inline constexpr std::size_t kUtcTextSize = 40;

// Writes `2026-03-01T12:15:00Z` (with `.5` and the like only where there are microseconds) and a zero byte.
// Returns the length, or 0 for an infinity.
std::size_t format_utc(TimestampUs t, char (&buffer)[kUtcTextSize]);

// The same as a string, empty for an infinity.
std::string format_utc(TimestampUs t);

}  // namespace sync_engine

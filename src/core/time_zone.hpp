// What the core has to know of a time zone. The data come from whoever calls.
#pragma once

#include <cstdint>

namespace sync_engine {

// Seconds since 2000-01-01 00:00 UTC.
using InstantSeconds = std::int64_t;

inline constexpr InstantSeconds kInstantMin = INT64_MIN / 4;
inline constexpr InstantSeconds kInstantMax = INT64_MAX / 4;

// The offset between two changes of the clocks. `begin` may lie later than the real change as long as nothing
// changed in the kZoneReach before the instant that was asked for.
struct ZoneSpan {
    InstantSeconds begin;  // inclusive; kInstantMin: for ever
    InstantSeconds end;    // exclusive; kInstantMax: for ever
    std::int32_t offset;   // seconds east of UTC, less than a day either way
};

// Longer than any change of the clocks and than any difference of two offsets: a span that ended so long ago
// shares no local time with now.
inline constexpr std::int64_t kZoneReach = 2 * 86'400;

class TimeZone {
  public:
    TimeZone() = default;
    TimeZone(const TimeZone&) = delete;
    TimeZone& operator=(const TimeZone&) = delete;
    virtual ~TimeZone() = default;

    // The span that holds the instant.
    virtual ZoneSpan span_at(InstantSeconds instant) const = 0;
};

}  // namespace sync_engine

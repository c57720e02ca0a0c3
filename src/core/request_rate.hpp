// How many requests a minute are let through: evenly, so that no minute sees many more than it may. This is
// the generic cell rate algorithm (ITU-T I.371, annex A): all that is remembered is until when the requests
// let through so far keep the remote busy at the rate that it allows. Times are microseconds since any epoch.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>

namespace sync_engine {

// So much of a minute's requests may go at once: in no minute more than a tenth above the rate.
inline constexpr int kBurstPart = 10;

inline constexpr double kMinuteUs = 60e6;

// In requests: rounding to whole microseconds must not cost one.
inline constexpr double kRateTolerance = 1e-5;

// Requests that may go at once after a pause. `per_minute` > 0, here and below.
inline int request_burst(int per_minute) {
    return std::max(1, per_minute / kBurstPart);
}

// Claims tell when their transactions began, which is not the order in which they count their requests: one
// that began so much earlier than the last one has not put the clock back.
inline constexpr double kLateClaimUs = 60e6;

// Microseconds of work at the allowed rate that are ahead of `now`. More than a burst and a late claim's
// delay cannot be unless the clock went back: then nothing is.
inline double request_backlog(std::optional<std::int64_t> busy_until, std::int64_t now, int per_minute) {
    if (!busy_until || *busy_until <= now) {
        return 0;
    }
    const double ahead = static_cast<double>(*busy_until) - static_cast<double>(now);
    const double each = kMinuteUs / per_minute;
    return ahead <= (request_burst(per_minute) + kRateTolerance) * each + kLateClaimUs ? ahead : 0;
}

// Requests that may go now, from 0 to request_burst.
inline int requests_left(std::optional<std::int64_t> busy_until, std::int64_t now, int per_minute) {
    const double each = kMinuteUs / per_minute;
    const double left = request_burst(per_minute) - request_backlog(busy_until, now, per_minute) / each;
    return std::max(0, static_cast<int>(std::floor(left + kRateTolerance)));
}

// When requests_left will be at least 1; `now` where it is.
inline std::int64_t next_request_at(std::optional<std::int64_t> busy_until, std::int64_t now,
                                    int per_minute) {
    const double each = kMinuteUs / per_minute;
    const double wait = request_backlog(busy_until, now, per_minute) - (request_burst(per_minute) - 1) * each;
    return wait <= each * kRateTolerance ? now : now + static_cast<std::int64_t>(std::ceil(wait));
}

// Until when the remote is busy once `count` more requests have gone, 0 to requests_left.
inline std::int64_t busy_after_requests(std::optional<std::int64_t> busy_until, std::int64_t now,
                                        int per_minute, std::int64_t count) {
    const double busy =
        request_backlog(busy_until, now, per_minute) + static_cast<double>(count) * kMinuteUs / per_minute;
    return now + std::llround(busy);
}

}  // namespace sync_engine

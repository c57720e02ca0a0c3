// How long a failed job waits before it is tried again, without the jitter.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>

namespace sync_engine {

// A remote that asks for more than 7 days is not believed.
inline constexpr double kMaxHintSeconds = 604'800.0;
inline constexpr double kDefaultBackoffBaseSeconds = 5.0;
inline constexpr double kDefaultBackoffMaxSeconds = 900.0;
// 2^62 seconds is beyond any maximum; a larger exponent would only overflow.
inline constexpr int kMaxBackoffExponent = 62;

// max(hint, min(base * 2^attempts, max)) in seconds. `attempts` is the number of failures before this one;
// below 0 it counts as 0. A base or max that is NaN or negative is replaced by its default. A NaN or negative
// hint is ignored, a longer one than kMaxHintSeconds is cut.
inline double backoff_seconds(std::int32_t attempts, double base, double max, std::optional<double> hint) {
    const double first = base >= 0.0 ? base : kDefaultBackoffBaseSeconds;
    const double limit = max >= 0.0 ? max : kDefaultBackoffMaxSeconds;
    const double exponential =
        std::min(std::ldexp(first, std::clamp<int>(attempts, 0, kMaxBackoffExponent)), limit);
    if (!hint || !(*hint >= 0.0)) {
        return exponential;
    }
    return std::max(exponential, std::min(*hint, kMaxHintSeconds));
}

}  // namespace sync_engine

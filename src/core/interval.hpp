// The base interval of a connection and the jitter that is added to its runs.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>

namespace sync_engine {

// Bounds in seconds of an interval that a connection sets for itself; the default may lie outside them.
struct IntervalLimits {
    std::int32_t default_seconds = 900;
    std::int32_t min_seconds = 60;
    std::int32_t max_seconds = 86'400;
};

struct EffectiveInterval {
    std::int32_t base_seconds;
    // false: there was an override and it was replaced by the default.
    bool valid;
};

// The override when it is a whole number of seconds within the limits, else the default. An override that is
// not a number at all is passed as NaN.
inline EffectiveInterval effective_interval(std::optional<double> override_seconds,
                                            const IntervalLimits& limits) {
    if (!override_seconds) {
        return {limits.default_seconds, true};
    }
    const double value = *override_seconds;
    // The negated comparison refuses NaN as well.
    if (!(value >= limits.min_seconds && value <= limits.max_seconds) || value != std::trunc(value)) {
        return {limits.default_seconds, false};
    }
    return {static_cast<std::int32_t>(value), true};
}

// Whole seconds, both ends included, 0 <= lo <= hi.
struct JitterBounds {
    std::int32_t lo;
    std::int32_t hi;
};

// lo = ceil(pct_min * base), hi = floor(pct_max * base), each product rounded to 1e-6 before, since 0.07 *
// 900 is 63.000000000000007 in binary. hi stays below the base, so that a run never slides into the next
// slot; lo gives way to hi. Fractions outside [0, 1] are cut to it, NaN counts as 0, a base below 1 gives 0
// and 0.
inline JitterBounds jitter_bounds(std::int32_t base_seconds, double pct_min, double pct_max) {
    constexpr std::int64_t kMillion = 1'000'000;
    if (base_seconds < 1) {
        return {0, 0};
    }
    const auto millionths = [base_seconds](double pct) {
        const double fraction = pct > 0.0 ? std::min(pct, 1.0) : 0.0;
        return static_cast<std::int64_t>(std::llround(fraction * base_seconds * kMillion));
    };
    const auto lo = static_cast<std::int32_t>((millionths(pct_min) + kMillion - 1) / kMillion);
    const auto hi = static_cast<std::int32_t>(millionths(pct_max) / kMillion);
    const std::int32_t top = std::min(hi, base_seconds - 1);
    return {std::min(lo, top), top};
}

// A whole number from [lo, hi], each equally likely. next_random() returns 64 random bits; it is called again
// while the draw falls into the remainder that would favour the small numbers.
template <typename NextRandom>
std::int32_t draw_uniform(const JitterBounds& bounds, NextRandom&& next_random) {
    if (bounds.hi <= bounds.lo) {
        return bounds.lo;
    }
    const std::uint64_t count = static_cast<std::uint64_t>(bounds.hi) - bounds.lo + 1;
    const std::uint64_t remainder = (UINT64_MAX % count + 1) % count;
    std::uint64_t drawn = next_random();
    while (drawn > UINT64_MAX - remainder) {
        drawn = next_random();
    }
    return bounds.lo + static_cast<std::int32_t>(drawn % count);
}

}  // namespace sync_engine

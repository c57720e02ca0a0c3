// When a notification that could not be delivered is tried again: the schedule that Standard Webhooks 1.0.0
// recommends ("Deliverability and reliability"), with jitter, so that what failed together does not come back
// together.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>

namespace sync_engine {

// Seconds from the end of the first, second, ... try to the next one.
inline constexpr std::array<double, 9> kDeliveryWaits{5,     5 * 60,    30 * 60, 2 * 3600, 5 * 3600,
                                                      36000, 14 * 3600, 72000,   86400};

// A receiver that asks for more is not believed.
inline constexpr double kMaxDeliveryHintSeconds = 86'400.0;

// The part of a wait that is added to it at random.
inline constexpr double kDeliveryJitter = 0.1;

// Seconds until the next try after `tries` that failed, at least 1; nothing after the last one. `hint` is
// what the receiver asked for (Retry-After), ignored where it is NaN or negative. `random` is uniform in [0,
// 1).
inline std::optional<double> delivery_wait(int tries, std::optional<double> hint, double random) {
    if (tries < 1 || static_cast<std::size_t>(tries) > kDeliveryWaits.size()) {
        return std::nullopt;
    }
    const double planned = kDeliveryWaits[static_cast<std::size_t>(tries - 1)];
    const double asked = hint && *hint >= 0 ? std::min(*hint, kMaxDeliveryHintSeconds) : 0;
    return std::max(planned, asked) * (1 + kDeliveryJitter * random);
}

}  // namespace sync_engine

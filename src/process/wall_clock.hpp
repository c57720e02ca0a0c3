#pragma once

#include <chrono>

#include "core/time.hpp"

namespace sync_engine {

// 2000-01-01, the epoch of TimestampUs, in Unix time.
inline constexpr std::int64_t kEpochUnixSeconds = 946'684'800;

// The machine's time. For what the outside world sees; durations are measured with Clock.
inline TimestampUs wall_clock_now() {
    const auto since_1970 = std::chrono::system_clock::now().time_since_epoch();
    return std::chrono::duration_cast<std::chrono::microseconds>(since_1970).count() -
           kEpochUnixSeconds * kMicrosPerSecond;
}

}  // namespace sync_engine

#pragma once

#include <chrono>

#include "core/time.hpp"

namespace sync_engine {

// The machine's time. For what the outside world sees; durations are measured with Clock.
inline TimestampUs wall_clock_now() {
    const auto since_1970 = std::chrono::system_clock::now().time_since_epoch();
    return std::chrono::duration_cast<std::chrono::microseconds>(since_1970).count() -
           kUnixEpochOffset * kMicrosPerSecond;
}

}  // namespace sync_engine

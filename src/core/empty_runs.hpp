// Whether a source that brings nothing has gone silent, judged by its own history: runs without a record are
// ordinary for one connection and a sign of trouble for another.
#pragma once

#include <cmath>
#include <cstdint>

namespace sync_engine {

// Runs of a connection before the present streak of empty ones.
struct RunHistory {
    std::int64_t with_records = 0;
    std::int64_t without_records = 0;
};

// A streak that the history would bring about less often than this is odd.
inline constexpr double kOddStreak = 0.001;
// Before so many runs with records nothing is known.
inline constexpr std::int64_t kFewestRuns = 5;
// Of more runs the older count half, so that a source may change its ways.
inline constexpr std::int64_t kRememberedRuns = 200;

// Whether `streak` empty runs in a row are odd. The chance of an empty run is estimated by Laplace's rule of
// succession, (n + 1) / (N + 2), which leaves room for what has not been seen yet.
inline bool empty_runs_are_odd(const RunHistory& past, std::int64_t streak) {
    if (streak < 1 || past.with_records < kFewestRuns) {
        return false;
    }
    const double empty = static_cast<double>(past.without_records) + 1;
    const double all = static_cast<double>(past.with_records) + static_cast<double>(past.without_records) + 2;
    return static_cast<double>(streak) * std::log(empty / all) <= std::log(kOddStreak);
}

}  // namespace sync_engine

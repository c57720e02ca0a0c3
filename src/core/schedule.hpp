// When a connection that runs at an interval is due, and what a tick does about it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include "core/time.hpp"

namespace sync_engine {

enum class Verdict {
    bootstrap,   // it never finished a run: enqueue at once
    look_ahead,  // due within the look-ahead: enqueue for its time
    catch_up,    // due or overdue: enqueue for the latest slot, however many were missed
    not_yet,     // nothing to enqueue
};

struct PlanInput {
    std::optional<TimestampUs> last_finished;  // none: it never finished; infinities allowed
    std::int32_t base_seconds;                 // less than 1 counts as 1
    std::optional<TimestampUs> activation;     // none: as_of; infinities allowed
    TimestampUs as_of;
    std::int32_t jitter_seconds;  // less than 0 counts as 0
    std::int32_t tick_interval_seconds;
};

// Every time that is present is finite.
struct RunPlan {
    Verdict verdict = Verdict::not_yet;
    std::optional<TimestampUs> slot;          // what the run is for, without jitter
    std::optional<TimestampUs> scheduled_at;  // absent when not_yet
    std::optional<TimestampUs> next_run_at;
};

// A job is enqueued this long before its slot, so that it is in the queue when its time comes.
inline constexpr std::int32_t kMinLookAheadSeconds = 60;

// With L = last_finished, B = base, A = activation, N = as_of, J = jitter, T = tick interval, W = max(T, 60):
//   no L:            slot = N, scheduled_at = N + min(J, T), next_run_at = A + B + J
//   D = L + B > N+W: nothing yet; slot and next_run_at tell D
//   N < D <= N+W:    slot = D
//   D <= N:          slot = the latest L + k*B that is <= N
//                    scheduled_at = slot + J, next_run_at = slot + B
// L after N, as when the clock was set back, counts as N. Sums beyond the finite range stop at its end; an
// infinite as_of plans nothing.
inline RunPlan plan_run(const PlanInput& in) {
    RunPlan plan;
    if (!is_finite(in.as_of)) {
        return plan;
    }
    const std::int64_t base = std::max(in.base_seconds, 1);
    const std::int64_t jitter = std::max(in.jitter_seconds, 0);
    const TimestampUs now = in.as_of;
    if (!in.last_finished) {
        plan.verdict = Verdict::bootstrap;
        plan.slot = now;
        plan.scheduled_at =
            add_seconds(now, std::min<std::int64_t>(jitter, std::max(in.tick_interval_seconds, 0)));
        plan.next_run_at = add_seconds(in.activation.value_or(now), base + jitter);
        return plan;
    }
    const TimestampUs last = clamp_finite(std::min(*in.last_finished, now));
    const TimestampUs due = add_seconds(last, base);
    if (due > add_seconds(now, std::max(in.tick_interval_seconds, kMinLookAheadSeconds))) {
        plan.slot = due;
        plan.next_run_at = due;
        return plan;
    }
    TimestampUs slot = due;
    plan.verdict = Verdict::look_ahead;
    if (due <= now) {
        plan.verdict = Verdict::catch_up;
        // The distance may exceed INT64_MAX, as from 4714 BC to year 294276, but never UINT64_MAX.
        const std::uint64_t elapsed = static_cast<std::uint64_t>(now) - static_cast<std::uint64_t>(last);
        slot = now - static_cast<TimestampUs>(elapsed % static_cast<std::uint64_t>(base * kMicrosPerSecond));
    }
    plan.slot = slot;
    plan.scheduled_at = add_seconds(slot, jitter);
    plan.next_run_at = add_seconds(slot, base);
    return plan;
}

}  // namespace sync_engine

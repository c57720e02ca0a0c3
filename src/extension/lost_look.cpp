// How often a tick looks for lost jobs. The index of running jobs keeps the entries of those that have ended
// until vacuum removes them, which it cannot while an old snapshot is open: each look walks over all of them.
#include "extension/boundary.hpp"
#include "extension/shared_state.hpp"

extern "C" {
#include "executor/instrument.h"
#include "utils/timestamp.h"
}

using namespace sync_engine;

namespace {

// Looks that read more than that take this part of the time at most. Leases are far longer than what that
// delays.
constexpr std::int64_t kShortLookBuffers = 1000;
constexpr std::int64_t kLookPart = 10;
// How far a clock may seem to be ahead between two looks.
constexpr std::int64_t kClockSlackMs = 10;

// The last look of this session.
struct LostLook {
    bool was_long;
    std::int64_t buffers;  // read before it
    std::int64_t started_ms;
    std::int64_t took_ms;
    TimestampTz as_of;
};

LostLook last_look = {};

std::int64_t buffers_read() {
    return pgBufferUsage.shared_blks_hit + pgBufferUsage.shared_blks_read;
}

}  // namespace

SYNC_ENGINE_FUNCTION(begin_lost_look) {
    const TimestampTz as_of = PG_GETARG_TIMESTAMPTZ(0);
    const std::int64_t now_ms = monotonic_ms();
    const std::int64_t elapsed_ms = now_ms - last_look.started_ms;
    // A caller with a clock of its own has others lose their leases sooner.
    const bool same_clock = as_of >= last_look.as_of &&
                            as_of - last_look.as_of <= (elapsed_ms + kClockSlackMs) * INT64CONST(1000);
    if (last_look.was_long && same_clock && elapsed_ms < kLookPart * last_look.took_ms) {
        PG_RETURN_BOOL(false);
    }
    last_look = {false, buffers_read(), now_ms, 0, as_of};
    PG_RETURN_BOOL(true);
}

SYNC_ENGINE_FUNCTION(end_lost_look) {
    last_look.was_long = PG_GETARG_BOOL(0) && buffers_read() - last_look.buffers > kShortLookBuffers;
    last_look.took_ms = monotonic_ms() - last_look.started_ms;
    PG_RETURN_VOID();
}

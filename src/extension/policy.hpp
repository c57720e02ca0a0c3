// What a tick decides about a connection.
#pragma once

#include <optional>

#include "core/interval.hpp"
#include "core/schedule.hpp"
#include "extension/compat.hpp"

extern "C" {
#include "utils/jsonb.h"
}

namespace sync_engine {

struct TickPlan {
    EffectiveInterval interval;
    std::int32_t jitter_seconds;
    RunPlan run;
};

// For a connection with that metadata (null: none), with the settings as they are now.
TickPlan plan_tick(Jsonb* metadata, const std::optional<TimestampUs>& last_finished,
                   const std::optional<TimestampUs>& created, TimestampUs as_of);

// metadata.sync.interval_seconds, which must be there, as jsonb.
Datum interval_override(Jsonb* metadata);

}  // namespace sync_engine

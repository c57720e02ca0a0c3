#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "connectors/connector.hpp"
#include "core/time.hpp"

namespace sync_engine {

// What a reply says about the caller's budget. Malformed headers count as absent.
struct RateLimit {
    std::optional<double> retry_after_seconds;  // Retry-After, in either form
    std::optional<double> remaining;
    std::optional<double> limit;
    std::optional<double> reset_seconds;  // from now, never negative
    std::string_view source;              // which headers the last three come from

    bool exhausted() const { return remaining && *remaining <= 0; }

    // How long to wait before the next request: Retry-After, else the reset.
    std::optional<double> wait_seconds() const {
        return retry_after_seconds ? retry_after_seconds : reset_seconds;
    }
};

// Read in this order: Retry-After beats all; then the RateLimit field (the worst of its policies), then
// RateLimit-Remaining and -Reset (seconds), then X-RateLimit-Remaining and -Reset (a reset above 1e9 is a
// Unix time, in milliseconds above 1e12).
RateLimit read_rate_limit(const Headers& headers, TimestampUs now);

// For a page's stats; empty when there is nothing to say.
std::string rate_limit_json(const RateLimit& limit);

}  // namespace sync_engine

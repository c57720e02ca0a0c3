#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "connectors/connector.hpp"

namespace sync_engine {

// {"code", "message"[, "status"]}; both texts are cleaned.
Failure http_failure(FailureKind kind, std::string_view code, std::string_view message, long status = 0,
                     std::optional<double> retry_after_seconds = std::nullopt);

inline Failure permanent_failure(std::string_view code, std::string_view message) {
    return http_failure(FailureKind::permanent, code, message);
}

// `text` with each of `secrets` that is at least 4 bytes long replaced, also where it is percent-encoded.
std::string redacted(std::string text, const std::vector<std::string>& secrets);

// The first 300 bytes of a reply, redacted.
std::string excerpt(std::string_view body, const std::vector<std::string>& secrets);

}  // namespace sync_engine

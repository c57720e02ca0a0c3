#pragma once

#include <string>
#include <string_view>

#include "gateway/http_message.hpp"

namespace sync_engine {

// SHA-256 in hex.
std::string sha256_hex(std::string_view text);

// SHA-256 of method, target and body in hex: whether two requests under one Idempotency-Key are the same.
std::string request_hash(const HttpRequest& request);

}  // namespace sync_engine

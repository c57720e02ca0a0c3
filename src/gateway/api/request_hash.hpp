#pragma once

#include <string>

#include "gateway/http_message.hpp"

namespace sync_engine {

// SHA-256 of method, target and body in hex: whether two requests under one Idempotency-Key are the same.
std::string request_hash(const HttpRequest& request);

}  // namespace sync_engine

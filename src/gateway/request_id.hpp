#pragma once

#include <random>
#include <string>
#include <string_view>

namespace sync_engine {

// Whether a client's X-Request-Id may stand in logs and answers: 1..64 of [A-Za-z0-9._-].
bool is_request_id(std::string_view text);

class RequestIds {
  public:
    std::string make();  // 32 hex digits

  private:
    std::mt19937_64 random_{(std::uint64_t{std::random_device{}()} << 32U) | std::random_device{}()};
};

}  // namespace sync_engine

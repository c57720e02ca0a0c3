#pragma once

// Internal to Connection.

#include <cstddef>
#include <string>

#include "gateway/connection.hpp"

namespace sync_engine {

// A request and what became of it.
struct Connection::Exchange {
    GatewayClock::time_point begun = GatewayClock::now();
    std::string method;
    std::string path;  // as it may be logged
    std::string client;
    std::string request_id;
    ReplyContext context;
    std::size_t body_bytes = 0;  // sent
    bool is_stream = false;
};

}  // namespace sync_engine

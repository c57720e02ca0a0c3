#pragma once

#include <memory>

#include "gateway/application.hpp"
#include "gateway/handler.hpp"

namespace sync_engine {

// Everything that sync-gateway answers: the API, hooks, live events and what operators ask, over one pool of
// connections. Throws std::runtime_error where the API's description and its statements do not fit.
std::unique_ptr<Handler> make_service(const GatewayParts& parts);

}  // namespace sync_engine

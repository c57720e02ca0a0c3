#pragma once

#include <optional>
#include <string>
#include <vector>

#include "connectors/connector.hpp"
#include "connectors/http_config.hpp"
#include "connectors/rate_limit.hpp"

namespace sync_engine {

// What to make of a request that got no reply.
Failure transport_failure(const ApiRequest& request, const HttpResponse& response,
                          const std::vector<std::string>& secrets);

// What to make of a reply whose status is neither 2xx nor an expected 304.
Failure status_failure(const HttpConfig& config, const HttpResponse& response, const RateLimit& limit,
                       const std::vector<std::string>& secrets);

}  // namespace sync_engine

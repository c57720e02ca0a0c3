// A webhook delivery as an HTTP request by Standard Webhooks 1.0.0, and what the reply means.
#pragma once

#include <string>
#include <variant>

#include "connectors/connector.hpp"
#include "core/time.hpp"
#include "notify/delivery.hpp"

namespace sync_engine {

// What to send at the time `now`, or why nothing can be sent. The whole takes 20 s at most.
std::variant<ApiRequest, DeliveryOutcome> webhook_request(const Delivery& delivery, TimestampUs now);

// What came of it. 2xx is delivered, 410 gone; everything else, redirects too, failed.
DeliveryOutcome webhook_outcome(const HttpResponse& response, TimestampUs now);

}  // namespace sync_engine

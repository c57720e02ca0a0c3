#pragma once

#include "connectors/connector.hpp"

namespace sync_engine {

// What a function's reply comes to. Anything that is not a page is a failure whose message names the JSON
// path or the status; Retry-After, and retryable and retry_after_s of a problem, are honoured.
Outcome read_function_reply(const ApiRequest& request, const HttpResponse& response, TimestampUs now);

}  // namespace sync_engine

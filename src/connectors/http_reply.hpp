#pragma once

#include "connectors/connector.hpp"
#include "connectors/cursor.hpp"
#include "connectors/http_config.hpp"

namespace sync_engine {

// What the reply to `request` comes to, for a job whose cursor is `cursor`.
Outcome read_http_reply(const Job& job, const HttpConfig& config, const SyncCursor& cursor,
                        const ApiRequest& request, const HttpResponse& response, TimestampUs now);

}  // namespace sync_engine

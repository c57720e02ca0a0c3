#pragma once

#include <string_view>
#include <variant>
#include <vector>

#include "connectors/connector.hpp"
#include "connectors/cursor.hpp"
#include "connectors/http_config.hpp"

namespace sync_engine {

// Why the job cannot be run with its configuration; nothing when it can.
std::optional<Failure> config_failure(const HttpConfig& config, const std::vector<ConfigError>& errors);

// The job's cursor as this run goes by it: a page position that is too old or of another type of paging is
// given up, and the run begins anew from the watermark. A permanent failure when it is not a cursor.
std::variant<SyncCursor, Failure> current_cursor(const Job& job, const HttpConfig& config, TimestampUs now);

std::variant<ApiRequest, Failure> build_request(const Job& job, const HttpConfig& config,
                                                const SyncCursor& cursor, SecretResolver& secrets,
                                                TimestampUs now);

}  // namespace sync_engine

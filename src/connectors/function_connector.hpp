#pragma once

#include "connectors/connector.hpp"

namespace sync_engine {

// Calls an HTTP endpoint that does the work: POST {cursor, input, config, connection, job, limit}, answered
// by {signals, next_cursor, has_more, rate_limit} or by RFC 9457 problem+json. docs/connectors.md is the
// contract.
const Connector* function_connector();

}  // namespace sync_engine

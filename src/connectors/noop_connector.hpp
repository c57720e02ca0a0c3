#pragma once

#include "connectors/connector.hpp"

namespace sync_engine {

// A connector that calls nothing: for benchmarks, for tests, and to try out an installation. Its
// configuration, under "noop", all optional: "signals": how many a page; "pages": how many pages a run has
// (1); "cursor": true to count the runs in the cursor; "fail": a kind of failure to end with;
// "retry_after_seconds": its hint.
const Connector* noop_connector();

}  // namespace sync_engine

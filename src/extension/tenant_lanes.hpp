// Which jobs wait in a lane of their tenant's own, so that a claim can pass by all of them at once: those of
// tenants whose running jobs are limited, and everybody's while sync_engine.fair_share is on.
#pragma once

#include "extension/compat.hpp"

namespace sync_engine {

// Whether a job of that tenant, when it is queued now, goes into its tenant's own lane. Reads
// sync.tenant_limits once, and again when a transaction that has written it commits; may raise.
bool has_own_lane(const text* tenant);

}  // namespace sync_engine

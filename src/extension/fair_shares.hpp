// In whose turn tenants are served while sync_engine.fair_share is on: core/fair_share.hpp in shared memory.
#pragma once

namespace sync_engine {

// Reserves shared memory and chains the hooks. For _PG_init; does nothing without preloading.
void fair_shares_init();

}  // namespace sync_engine

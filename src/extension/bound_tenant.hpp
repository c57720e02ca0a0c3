// Which tenant a caller is confined to.
#pragma once

namespace sync_engine {

// Null: every tenant is seen. Empty: none is.
const char* bound_tenant();

}  // namespace sync_engine

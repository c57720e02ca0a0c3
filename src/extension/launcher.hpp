// The launcher: one process in the cluster, which keeps a worker in every database that has the extension.
#pragma once

namespace sync_engine {

// For _PG_init, after the settings are defined and before anything else of the server runs. Reserves shared
// memory, sets the hooks and registers the launcher; does nothing unless the library is being preloaded, nor
// during pg_upgrade.
void launcher_init();

}  // namespace sync_engine

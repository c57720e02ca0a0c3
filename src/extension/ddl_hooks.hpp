// Commands that a worker's connection would make fail, or that it has to hear of.
#pragma once

namespace sync_engine {

// For _PG_init, while preloading; hooks that are set already are called too.
void install_ddl_hooks();

}  // namespace sync_engine

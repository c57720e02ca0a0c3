// What the server finds when it loads the library.
#include "extension/boundary.hpp"
#include "extension/change_ring.hpp"
#include "extension/claim_hints.hpp"
#include "extension/due_hint.hpp"
#include "extension/fair_shares.hpp"
#include "extension/guc.hpp"
#include "extension/launcher.hpp"
#include "extension/metrics.hpp"

extern "C" {
#include "miscadmin.h"

#if PG_VERSION_NUM >= 180000
PG_MODULE_MAGIC_EXT(.name = "sync_engine", .version = SYNC_ENGINE_VERSION);
#else
PG_MODULE_MAGIC;
#endif

extern PGDLLEXPORT void _PG_init(void);
}

static bool preloaded = false;

void _PG_init(void) {
    preloaded = process_shared_preload_libraries_in_progress;
    sync_engine::define_gucs();
    sync_engine::metrics_init();
    sync_engine::claim_hints_init();
    sync_engine::fair_shares_init();
    sync_engine::changes_init();
    sync_engine::register_claim_actions();
    sync_engine::register_tick_actions();
    sync_engine::register_change_actions();
    sync_engine::launcher_init();
}

SYNC_ENGINE_FUNCTION(preloaded) {
    PG_RETURN_BOOL(preloaded);
}

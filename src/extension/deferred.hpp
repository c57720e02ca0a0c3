// What a transaction wants to tell the launcher, the workers and the executors: told when it commits,
// forgotten when it does not. Nothing here does anything where the library is not preloaded.
#pragma once

#include "extension/compat.hpp"

namespace sync_engine {

// For _PG_init, while preloading.
void register_deferred_actions();

// At commit: somebody looks again at the database of this session, which has got or lost the extension or may
// work again.
void defer_recheck();

// At commit: the launcher compares pg_database with its slots.
void defer_launcher_cycle();

// At commit: the worker of the database, of all if it is InvalidOid, starts anew with the settings it then
// has.
void defer_worker_restart(Oid database);

// At commit: whoever waits for work in the database of this session looks for it. Costs next to nothing.
void defer_executor_wake();

// Keeps workers out of the database until the transaction ends, however it ends; returns once its worker has
// gone, or after a few seconds if it does not go. Can be cancelled.
void hold_database(Oid database);

}  // namespace sync_engine

// Background worker processes, by the slot that they are for. What is known of them belongs to one launcher.
#pragma once

#include "extension/compat.hpp"

namespace sync_engine {

// For _PG_init: the server starts the launcher when recovery has ended, and again after each exit.
void register_launcher_process(const char* type, int restart_seconds);

// Once in a launcher, before anything below.
void init_worker_processes();

// False: every place that max_worker_processes allows is taken.
bool start_worker_process(int index, Oid database, std::uint64_t launch);

enum class WorkerProcess {
    none,  // this launcher has started none that it has not forgotten
    alive,
    stopped,
};

WorkerProcess worker_process(int index);
// Of one that has stopped; after that another one may be started.
void forget_worker_process(int index);

}  // namespace sync_engine

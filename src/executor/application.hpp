#pragma once

#include "executor/options.hpp"

namespace sync_engine {

// Runs the executor until it is told to stop, and returns the process's exit status. Throws std::exception
// where it cannot start, for instance because the address for metrics is taken.
int run_executor(const Options& options);

}  // namespace sync_engine

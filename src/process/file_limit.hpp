#pragma once

#include <cstddef>

#include "process/log.hpp"

namespace sync_engine {

// Raises the limit of open files as far as the system lets it; warns where that is little for so many
// connections.
void raise_file_limit(Logger& log, std::size_t connections);

}  // namespace sync_engine

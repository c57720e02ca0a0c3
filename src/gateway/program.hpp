#pragma once

#include "gateway/application.hpp"

namespace sync_engine {

// The whole of a main(): options, --help, --version, messages on standard error. 2: an option cannot be used;
// 1: it cannot begin.
int gateway_main(int argc, char** argv, const HandlerFactory& make_handler);

}  // namespace sync_engine

#pragma once

// The table of options: internal to parse_options and help_text.

#include <span>

#include "executor/options.hpp"
#include "process/option_parsing.hpp"

namespace sync_engine {

using OptionSpec = BasicOptionSpec<Options>;

// Those of notifications; a part of option_table().
std::span<const OptionSpec> delivery_options();

// The one place that knows the options: command line, environment, config file and --help follow it.
std::span<const OptionSpec> option_table();

}  // namespace sync_engine

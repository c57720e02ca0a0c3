#pragma once

// The table of options: internal to parse_options and help_text.

#include <span>
#include <string>
#include <string_view>

#include "executor/options.hpp"

namespace sync_engine {

// Why a value cannot be used; empty when it was taken.
using OptionProblem = std::string;

struct OptionSpec {
    std::string_view name;
    std::string_view alias;
    std::string_view metavar;   // empty: a switch that needs no value on the command line
    std::string_view fallback;  // empty: stays unset
    bool is_list;
    bool hidden;
    OptionProblem (*set)(Options&, std::string_view);
    std::string_view help;
    bool is_secret = false;  // refused on the command line, which every user of the machine can read
};

// Those of notifications; a part of option_table().
std::span<const OptionSpec> delivery_options();

// The one place that knows the options: command line, environment, config file and --help follow it.
std::span<const OptionSpec> option_table();

}  // namespace sync_engine

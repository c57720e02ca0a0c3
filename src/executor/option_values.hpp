#pragma once

// Reading an option's value, beside what process/option_values.hpp reads: internal to the tables of options.

#include <string>
#include <string_view>
#include <vector>

#include "process/option_values.hpp"

namespace sync_engine {

// Rules that AddressPolicy::allow accepts, separated by blanks, commas or semicolons.
OptionProblem add_addresses(std::vector<std::string>& target, std::string_view text);

}  // namespace sync_engine

#pragma once

// Reading an option's value: internal to the tables of options. Each returns why it cannot, empty when it
// could.

#include <string>
#include <string_view>
#include <vector>

#include "executor/option_table.hpp"

namespace sync_engine {

OptionProblem set_number(double& target, std::string_view text, double low, double high,
                         std::string_view unit);
OptionProblem set_integer(int& target, std::string_view text, int low, int high);
OptionProblem set_switch(bool& target, std::string_view text);
// Rules that AddressPolicy::allow accepts, separated by blanks, commas or semicolons.
OptionProblem add_addresses(std::vector<std::string>& target, std::string_view text);

}  // namespace sync_engine

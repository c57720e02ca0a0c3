#pragma once

// Reading an option's value: for tables of options. Each returns why it cannot, empty when it could.

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "process/log.hpp"
#include "process/option_parsing.hpp"

namespace sync_engine {

OptionProblem set_number(double& target, std::string_view text, double low, double high,
                         std::string_view unit);
OptionProblem set_integer(int& target, std::string_view text, int low, int high);
OptionProblem set_switch(bool& target, std::string_view text);
OptionProblem set_text(std::string& target, std::string_view text);
OptionProblem set_bytes(std::size_t& target, std::string_view text, double low, double high);
OptionProblem set_level(LogLevel& target, std::string_view text);
// A PostgreSQL URL or key=value pairs.
OptionProblem set_database(std::string& target, std::string_view text);

// What stands between blanks, commas and semicolons.
std::vector<std::string> option_words(std::string_view text);

}  // namespace sync_engine

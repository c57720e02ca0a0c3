#include "executor/option_values.hpp"

#include <algorithm>
#include <charconv>
#include <sstream>

#include "executor/address_policy.hpp"

namespace sync_engine {

OptionProblem set_number(double& target, std::string_view text, double low, double high,
                         std::string_view unit) {
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || !(value >= low && value <= high)) {
        std::ostringstream message;
        message << "must be a number of " << unit << " from " << low << " to " << high;
        return message.str();
    }
    target = value;
    return {};
}

OptionProblem set_integer(int& target, std::string_view text, int low, int high) {
    int value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value < low || value > high) {
        return "must be a whole number from " + std::to_string(low) + " to " + std::to_string(high);
    }
    target = value;
    return {};
}

OptionProblem set_switch(bool& target, std::string_view text) {
    if (text == "on" || text == "true" || text == "yes" || text == "1") {
        target = true;
    } else if (text == "off" || text == "false" || text == "no" || text == "0") {
        target = false;
    } else {
        return "must be on or off";
    }
    return {};
}

OptionProblem add_addresses(std::vector<std::string>& target, std::string_view text) {
    std::string words(text);
    std::replace_if(
        words.begin(), words.end(), [](char c) { return c == ',' || c == ';'; }, ' ');
    std::istringstream stream(words);
    for (std::string word; stream >> word;) {
        if (!AddressPolicy().allow(word)) {
            return "'" + word + "' is not loopback, private, all, an address or a block like 10.0.0.0/8";
        }
        target.push_back(word);
    }
    return {};
}

}  // namespace sync_engine

#include "process/option_values.hpp"

#include <algorithm>
#include <charconv>
#include <sstream>

#include <libpq-fe.h>

#include "process/pg_handles.hpp"

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

OptionProblem set_text(std::string& target, std::string_view text) {
    target = text;
    return {};
}

OptionProblem set_bytes(std::size_t& target, std::string_view text, double low, double high) {
    double bytes = 0;
    OptionProblem problem = set_number(bytes, text, low, high, "bytes");
    target = static_cast<std::size_t>(bytes);
    return problem;
}

OptionProblem set_level(LogLevel& target, std::string_view text) {
    const auto level = parse_log_level(text);
    target = level.value_or(LogLevel::info);
    return level ? OptionProblem() : "must be debug, info, warn or error";
}

OptionProblem set_database(std::string& target, std::string_view text) {
    target = text;
    char* message = nullptr;
    const PgConninfo parsed(PQconninfoParse(target.c_str(), &message));
    const PgMemory owned(message);
    // libpq's own message quotes the string, and with it the password.
    return parsed ? OptionProblem() : "is not a PostgreSQL URL or key=value connection string";
}

std::vector<std::string> option_words(std::string_view text) {
    std::string blanks(text);
    std::replace_if(
        blanks.begin(), blanks.end(), [](char c) { return c == ',' || c == ';'; }, ' ');
    std::istringstream stream(blanks);
    std::vector<std::string> words;
    for (std::string word; stream >> word;) {
        words.push_back(std::move(word));
    }
    return words;
}

}  // namespace sync_engine

#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "process/redactor.hpp"

namespace sync_engine {

enum class LogLevel { debug, info, warn, error };

std::optional<LogLevel> parse_log_level(std::string_view text);

struct LogField {
    std::string_view name;
    std::variant<std::string_view, std::int64_t, double, bool> value;
};

// Writes one JSON object a line to a file descriptor. Every line passes through the redactor, so that a
// secret that ended up in a message does not leave. Lines are gathered until flush(), which the event loop
// calls before it waits.
class Logger {
  public:
    // `fd` is borrowed; `redactor` must outlive the logger.
    Logger(int fd, LogLevel level, const Redactor& redactor);
    Logger(const Logger&) = delete;
    Logger& operator=(const Logger&) = delete;
    ~Logger();

    bool wants(LogLevel level) const noexcept { return level >= level_; }

    void log(LogLevel level, std::string_view message, std::initializer_list<LogField> fields = {});
    void debug(std::string_view message, std::initializer_list<LogField> fields = {}) {
        log(LogLevel::debug, message, fields);
    }
    void info(std::string_view message, std::initializer_list<LogField> fields = {}) {
        log(LogLevel::info, message, fields);
    }
    void warn(std::string_view message, std::initializer_list<LogField> fields = {}) {
        log(LogLevel::warn, message, fields);
    }
    void error(std::string_view message, std::initializer_list<LogField> fields = {}) {
        log(LogLevel::error, message, fields);
    }

    // Writes what was gathered. What the descriptor refuses is dropped: logging never stops the work.
    void flush() noexcept;

  private:
    int fd_;
    LogLevel level_;
    const Redactor& redactor_;
    std::string pending_;
};

}  // namespace sync_engine

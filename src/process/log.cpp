#include "process/log.hpp"

#include <array>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <ctime>

#include <unistd.h>

#include "process/json_string.hpp"

namespace sync_engine {

namespace {

constexpr std::array<std::string_view, 4> kLevelNames{"debug", "info", "warn", "error"};
constexpr std::size_t kFlushAt = 64 * 1024;

void append_timestamp(std::string& out) {
    std::timespec now{};
    std::timespec_get(&now, TIME_UTC);
    std::tm utc{};
    gmtime_r(&now.tv_sec, &utc);
    std::array<char, 64> text{};
    const int length = std::snprintf(text.data(), text.size(), "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ",
                                     utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min,
                                     utc.tm_sec, now.tv_nsec / 1000000);
    out.append(text.data(), static_cast<std::size_t>(length));
}

struct AppendValue {
    std::string& out;
    const Redactor& redactor;

    void operator()(std::string_view value) const { append_json_string(out, redactor.scrub(value)); }
    void operator()(std::int64_t value) const { out += std::to_string(value); }
    void operator()(bool value) const { out += value ? "true" : "false"; }
    void operator()(double value) const {
        std::array<char, 32> text{};
        const int length =
            std::snprintf(text.data(), text.size(), "%.6g", std::isfinite(value) ? value : 0.0);
        out.append(text.data(), static_cast<std::size_t>(length));
    }
};

}  // namespace

std::optional<LogLevel> parse_log_level(std::string_view text) {
    for (std::size_t i = 0; i < kLevelNames.size(); ++i) {
        if (text == kLevelNames[i]) {
            return static_cast<LogLevel>(i);
        }
    }
    return std::nullopt;
}

Logger::Logger(int fd, LogLevel level, const Redactor& redactor)
    : fd_(fd), level_(level), redactor_(redactor) {}

Logger::~Logger() {
    flush();
}

void Logger::log(LogLevel level, std::string_view message, std::initializer_list<LogField> fields) {
    if (!wants(level)) {
        return;
    }
    const AppendValue append{pending_, redactor_};
    pending_ += R"({"ts":")";
    append_timestamp(pending_);
    pending_ += R"(","level":")";
    pending_ += kLevelNames[static_cast<std::size_t>(level)];
    pending_ += R"(","msg":)";
    append(message);
    for (const LogField& field : fields) {
        pending_ += ',';
        append_json_string(pending_, field.name);
        pending_ += ':';
        std::visit(append, field.value);
    }
    pending_ += "}\n";
    if (pending_.size() >= kFlushAt) {
        flush();
    }
}

void Logger::flush() noexcept {
    std::string_view rest = pending_;
    while (!rest.empty()) {
        const ssize_t written = write(fd_, rest.data(), rest.size());
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            break;
        }
        rest.remove_prefix(static_cast<std::size_t>(written));
    }
    pending_.clear();
}

}  // namespace sync_engine

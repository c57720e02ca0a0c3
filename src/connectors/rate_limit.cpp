#include "connectors/rate_limit.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <vector>

#include "connectors/ascii.hpp"
#include "connectors/retry_after.hpp"

namespace sync_engine {
namespace {

constexpr double kEpochFrom = 1e9;
constexpr double kEpochMillisFrom = 1e12;

std::optional<double> amount(std::optional<std::string_view> text) {
    double value = 0;
    if (!text || text->empty()) {
        return std::nullopt;
    }
    const auto [end, code] = std::from_chars(text->data(), text->data() + text->size(), value);
    const bool good = code == std::errc() && end == text->data() + text->size() && std::isfinite(value);
    return good && value >= 0 ? std::optional(value) : std::nullopt;
}

struct Policy {
    std::optional<double> remaining;
    std::optional<double> limit;
    std::optional<double> reset;
};

// Reads the RateLimit field as a list of items with parameters r and t (RFC 9651 structured field), or as the
// dictionary with limit, remaining and reset that earlier drafts had.
class FieldReader {
  public:
    explicit FieldReader(std::string_view text) : text_(text) {}

    // Empty when anything is malformed.
    std::vector<Policy> read() {
        std::vector<Policy> policies;
        Policy dictionary;
        do {
            blanks();
            if (!member(policies, dictionary)) {
                return {};
            }
            blanks();
        } while (take(','));
        if (!text_.empty()) {
            return {};
        }
        if (dictionary.remaining) {
            policies.push_back(dictionary);
        }
        return policies;
    }

  private:
    void blanks() {
        while (!text_.empty() && (text_.front() == ' ' || text_.front() == '\t')) {
            text_.remove_prefix(1);
        }
    }

    bool take(char c) {
        if (text_.empty() || text_.front() != c) {
            return false;
        }
        text_.remove_prefix(1);
        return true;
    }

    std::string_view word() {
        const std::size_t end = std::min(text_.find_first_of(" \t,;=\"\\()"), text_.size());
        const std::string_view result = text_.substr(0, end);
        text_.remove_prefix(end);
        return result;
    }

    // A string, or a bare item; nothing when malformed.
    std::optional<std::string_view> value() {
        if (take(':')) {  // a byte sequence
            const std::size_t close = text_.find(':');
            const std::string_view bytes = text_.substr(0, close);
            text_.remove_prefix(std::min(text_.size(), close == std::string_view::npos ? close : close + 1));
            return close == std::string_view::npos ? std::nullopt : std::optional(bytes);
        }
        if (!take('"')) {
            const std::string_view bare = word();
            return bare.empty() ? std::nullopt : std::optional(bare);
        }
        std::size_t end = 0;
        while (end < text_.size() && text_[end] != '"') {
            end += text_[end] == '\\' ? 2 : 1;
        }
        if (end >= text_.size()) {
            return std::nullopt;
        }
        const std::string_view inside = text_.substr(0, end);
        text_.remove_prefix(end + 1);
        return inside;
    }

    bool member(std::vector<Policy>& policies, Policy& dictionary) {
        const bool quoted = !text_.empty() && text_.front() == '"';
        const auto name = value();
        if (!name) {
            return false;
        }
        if (!quoted && take('=')) {
            const auto number = value();
            std::optional<double>* into = *name == "remaining" ? &dictionary.remaining
                                          : *name == "limit"   ? &dictionary.limit
                                          : *name == "reset"   ? &dictionary.reset
                                                               : nullptr;
            if (into != nullptr) {
                *into = amount(number);
            }
            Policy ignored;
            return number && parameters(ignored);
        }
        Policy policy;
        if (!parameters(policy)) {
            return false;
        }
        if (policy.remaining) {
            policies.push_back(policy);
        }
        return true;
    }

    bool parameters(Policy& policy) {
        while (take(';')) {
            blanks();
            const std::string_view name = word();
            if (name.empty()) {
                return false;
            }
            std::optional<std::string_view> number;
            if (take('=') && !(number = value())) {
                return false;
            }
            if (name == "r" || name == "t") {
                (name == "r" ? policy.remaining : policy.reset) = amount(number);
            }
            if (name == "r" && !policy.remaining) {
                return false;
            }
        }
        return true;
    }

    std::string_view text_;
};

// Several fields of one name are one, joined by commas (RFC 9110, 5.3).
std::string joined_header(const Headers& headers, std::string_view name) {
    std::string text;
    for (const auto& [key, value] : headers) {
        if (same_ignoring_case(key, name)) {
            text += (text.empty() ? "" : ", ") + value;
        }
    }
    return text;
}

bool from_field(const Headers& headers, RateLimit& limit) {
    const std::vector<Policy> policies = FieldReader(joined_header(headers, "RateLimit")).read();
    if (policies.empty()) {
        return false;
    }
    const auto worst = std::ranges::min_element(policies, [](const Policy& a, const Policy& b) {
        return *a.remaining != *b.remaining ? *a.remaining < *b.remaining
                                            : a.reset.value_or(0) > b.reset.value_or(0);
    });
    limit.remaining = worst->remaining;
    limit.limit = worst->limit;
    limit.reset_seconds = worst->reset;
    limit.source = "RateLimit";
    return true;
}

std::optional<double> seconds_until(std::optional<double> reset, TimestampUs now) {
    if (!reset || *reset <= kEpochFrom) {
        return reset;
    }
    const double epoch = *reset > kEpochMillisFrom ? *reset / 1000 : *reset;
    const double now_epoch =
        static_cast<double>(now) / kMicrosPerSecond + static_cast<double>(kUnixEpochOffset);
    return std::max(0.0, epoch - now_epoch);
}

bool from_headers(const Headers& headers, const std::string& prefix, TimestampUs now, RateLimit& limit) {
    const auto remaining = amount(header(headers, prefix + "-Remaining"));
    const auto reset = amount(header(headers, prefix + "-Reset"));
    if (!remaining && !reset) {
        return false;
    }
    limit.remaining = remaining;
    limit.limit = amount(header(headers, prefix + "-Limit"));
    limit.reset_seconds = seconds_until(reset, now);
    return true;
}

void add(std::string& json, std::string_view name, std::optional<double> value) {
    if (value) {
        std::array<char, 32> text{};
        const auto end = std::to_chars(text.data(), text.data() + text.size(), *value).ptr;
        json += json.size() > 1 ? ",\"" : "\"";
        json.append(name).append("\":").append(text.data(), end);
    }
}

}  // namespace

RateLimit read_rate_limit(const Headers& headers, TimestampUs now) {
    RateLimit limit;
    limit.retry_after_seconds = retry_after_seconds(headers, now);
    if (from_field(headers, limit)) {
        return limit;
    }
    if (from_headers(headers, "RateLimit", now, limit)) {
        limit.source = "RateLimit-Remaining";
    } else if (from_headers(headers, "X-RateLimit", now, limit)) {
        limit.source = "X-RateLimit-Remaining";
    }
    return limit;
}

std::string rate_limit_json(const RateLimit& limit) {
    std::string json = "{";
    add(json, "remaining", limit.remaining);
    add(json, "limit", limit.limit);
    add(json, "reset_seconds", limit.reset_seconds);
    add(json, "retry_after_seconds", limit.retry_after_seconds);
    return json.size() == 1 ? std::string() : json + "}";
}

}  // namespace sync_engine

#include "connectors/retry_after.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "connectors/ascii.hpp"
#include "connectors/json_text.hpp"

namespace sync_engine {
namespace {

constexpr std::array<std::string_view, 12> kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                      "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

std::optional<int> digits(std::string_view text) {
    int value = 0;
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
    return code == std::errc() && end == text.data() + text.size() && value >= 0 ? std::optional(value)
                                                                                 : std::nullopt;
}

std::optional<double> not_negative(std::string_view text) {
    double value = 0;
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
    const bool good =
        code == std::errc() && end == text.data() + text.size() && std::isfinite(value) && value >= 0;
    return good ? std::optional(value) : std::nullopt;
}

}  // namespace

bool same_header_name(std::string_view a, std::string_view b) {
    const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
    return std::ranges::equal(a, b, [&](char x, char y) { return lower(x) == lower(y); });
}

std::optional<std::string_view> header(const Headers& headers, std::string_view name) {
    for (const auto& [key, value] : headers) {
        if (same_header_name(key, name)) {
            return trimmed(value);
        }
    }
    return std::nullopt;
}

std::optional<TimestampUs> parse_http_date(std::string_view text) {
    // Fixed width: "Sun, 06 Nov 1994 08:49:37 GMT".
    if (text.size() != 29 || text.substr(3, 2) != ", " || text[7] != ' ' || text[11] != ' ' ||
        text[16] != ' ' || text[19] != ':' || text[22] != ':' || text.substr(25) != " GMT") {
        return std::nullopt;
    }
    const auto month = std::ranges::find(kMonths, text.substr(8, 3));
    const auto day = digits(text.substr(5, 2));
    const auto year = digits(text.substr(12, 4));
    if (month == kMonths.end() || !day || !year) {
        return std::nullopt;
    }
    std::array<char, 32> iso{};
    std::snprintf(iso.data(), iso.size(), "%04d-%02d-%02dT%.8sZ", *year,
                  static_cast<int>(month - kMonths.begin()) + 1, *day, text.data() + 17);
    return parse_utc(iso.data());
}

std::optional<double> retry_after_seconds(const Headers& headers, TimestampUs now) {
    const auto value = header(headers, "Retry-After");
    if (!value) {
        return std::nullopt;
    }
    if (const auto at = parse_http_date(*value)) {
        return std::max(0.0, (static_cast<double>(*at) - static_cast<double>(now)) / kMicrosPerSecond);
    }
    return not_negative(*value);
}

std::optional<double> json_seconds(const rapidjson::Value& value) {
    return is_number(value) ? not_negative(number_text(value)) : std::nullopt;
}

}  // namespace sync_engine

#include "notify/mail_values.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <utility>

#include "connectors/json_text.hpp"
#include "core/time.hpp"
#include "core/url.hpp"
#include "notify/display_text.hpp"

namespace sync_engine {
namespace {

constexpr std::size_t kMaxLinkBytes = 2000;

template <class... Values>
std::string formatted(const char* format, Values... values) {
    std::array<char, 400> text{};
    const int length = std::snprintf(text.data(), text.size(), format, values...);
    return {text.data(), std::min(static_cast<std::size_t>(std::max(length, 0)), text.size() - 1)};
}

bool is_integer(std::string_view number) {
    return !number.empty() && number.find_first_not_of("0123456789") == std::string_view::npos;
}

std::string with_separators(std::string_view digits) {
    std::string out;
    for (std::size_t i = 0; i < digits.size(); ++i) {
        out += i > 0 && (digits.size() - i) % 3 == 0 ? "," : "";
        out += digits[i];
    }
    return out;
}

// "2 h 5 min" of 2 and 5; the smaller part only where there is one.
std::string two_parts(std::int64_t larger, const char* larger_unit, std::int64_t smaller,
                      const char* smaller_unit) {
    std::string text = std::to_string(larger) + " " + larger_unit;
    return smaller == 0 ? text : text + " " + std::to_string(smaller) + " " + smaller_unit;
}

const Json& typed_member(const Json& object, std::string_view name, rapidjson::Type type) {
    static const Json no_object(rapidjson::kObjectType);
    static const Json no_array(rapidjson::kArrayType);
    const Json* const found = member(object, name);
    if (found != nullptr && found->GetType() == type) {
        return *found;
    }
    return type == rapidjson::kObjectType ? no_object : no_array;
}

}  // namespace

const Json& object_at(const Json& object, std::string_view name) {
    return typed_member(object, name, rapidjson::kObjectType);
}

const Json& array_at(const Json& object, std::string_view name) {
    return typed_member(object, name, rapidjson::kArrayType);
}

std::string text_of(const Json& value, std::size_t max_characters) {
    if (is_number(value)) {
        return display_line(number_text(value), max_characters);
    }
    if (value.IsString()) {
        return display_line(string_view_of(value), max_characters);
    }
    return value.IsBool() ? (value.GetBool() ? "yes" : "no") : "";
}

std::string text_at(const Json& object, std::string_view name, std::size_t max_characters) {
    const Json* const value = member(object, name);
    return value == nullptr ? "" : text_of(*value, max_characters);
}

std::string block_at(const Json& object, std::string_view name) {
    const Json* const value = member(object, name);
    return value != nullptr && is_string(*value) ? display_block(string_view_of(*value), kMaxBlockCharacters)
                                                 : text_at(object, name);
}

std::optional<double> number_at(const Json& object, std::string_view name) {
    const Json* const value = member(object, name);
    if (value == nullptr || !is_number(*value)) {
        return std::nullopt;
    }
    const std::string_view text = number_text(*value);
    double number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    const bool good = error == std::errc() && end == text.data() + text.size() && std::isfinite(number);
    return good ? std::optional(number) : std::nullopt;
}

std::string count_at(const Json& object, std::string_view name) {
    const std::string text = text_at(object, name, kMaxCellCharacters);
    return is_integer(text) ? with_separators(text) : text;
}

bool any_at(const Json& object, std::string_view name) {
    return number_at(object, name).value_or(0) != 0;
}

std::string time_at(const Json& object, std::string_view name) {
    std::string local = text_at(object, std::string(name) + "_local", 40);
    if (!local.empty()) {
        return local;
    }
    std::string text = text_at(object, name, 40);
    const auto time = parse_utc(text);
    const std::string iso = time ? format_utc(*time) : std::string();
    // Of "2026-03-01T12:15:00Z" day and minute; a year of more digits stays as it is.
    return iso.size() >= 20 && iso[10] == 'T' ? iso.substr(0, 10) + " " + iso.substr(11, 5) + " UTC" : text;
}

std::string duration_text(double seconds) {
    constexpr double kMostSeconds = 1e11;
    seconds = std::clamp(seconds, 0.0, kMostSeconds);
    if (seconds < 0.9995) {
        return formatted("%.0f ms", seconds * 1000);
    }
    if (seconds < 59.95) {
        return formatted("%.1f s", seconds);
    }
    const auto whole = static_cast<std::int64_t>(std::llround(seconds));
    if (whole < 3600) {
        return two_parts(whole / 60, "min", whole % 60, "s");
    }
    return whole < 86'400 ? two_parts(whole / 3600, "h", whole % 3600 / 60, "min")
                          : two_parts(whole / 86'400, "d", whole % 86'400 / 3600, "h");
}

std::string bytes_text(double bytes) {
    constexpr std::array<const char*, 5> kUnits{"kB", "MB", "GB", "TB", "PB"};
    if (bytes < 1000) {
        return formatted("%.0f bytes", bytes);
    }
    std::size_t unit = 0;
    bytes /= 1000;
    while (bytes >= 999.95 && unit + 1 < kUnits.size()) {
        bytes /= 1000;
        ++unit;
    }
    return formatted("%.1f %s", bytes, kUnits[unit]);
}

std::string percent_text(double fraction) {
    const double percent = std::clamp(fraction, 0.0, 1.0) * 100;
    // 99.97 of a hundred are not all.
    const double shown = percent < 100 ? std::min(percent, 99.9) : percent;
    return formatted(shown == std::floor(shown) ? "%.0f%%" : "%.1f%%", shown);
}

std::string name_text(const Json& object) {
    std::string name = text_at(object, "name", kMaxCellCharacters);
    return name.empty() ? text_at(object, "id", kMaxCellCharacters) : name;
}

std::string connection_text(const Json& connection) {
    std::string text = name_text(connection);
    const std::string external = text_at(connection, "external_id", kMaxCellCharacters);
    const std::string provider = text_at(connection, "provider", kMaxCellCharacters);
    const bool both = !external.empty() && external != text;
    const std::string more = both && !provider.empty() ? external + ", " + provider
                             : both                    ? external
                                                       : provider;
    if (text.empty() || more.empty()) {
        return text.empty() ? more : text;
    }
    return text + " (" + more + ")";
}

std::string words_of(std::string_view identifier) {
    std::string words = display_line(identifier, kMaxCellCharacters);
    std::replace_if(
        words.begin(), words.end(), [](char c) { return c == '_' || c == '.'; }, ' ');
    if (!words.empty() && words[0] >= 'a' && words[0] <= 'z') {
        words[0] = static_cast<char>(words[0] - 'a' + 'A');
    }
    return words;
}

std::string link_url(std::string_view url) {
    if (url.size() > kMaxLinkBytes || !parse_url(url)) {
        return {};
    }
    std::string out;
    for (const char c : url) {
        const auto byte = static_cast<unsigned char>(c);
        const bool plain =
            byte > ' ' && byte < 0x7F && std::string_view("\"'<>`{}|^").find(c) == std::string_view::npos;
        out += plain ? std::string(1, c) : formatted("%%%02X", static_cast<unsigned>(byte));
    }
    return out;
}

void add_row(MailSection& section, std::string_view label, std::string value) {
    if (!value.empty()) {
        section.rows.push_back({std::string(label), std::move(value)});
    }
}

void add_section(MailContent& content, MailSection section) {
    if (!section.rows.empty() || !section.table.rows.empty()) {
        content.sections.push_back(std::move(section));
    }
}

std::size_t shown_rows(MailTable& table, std::size_t count, std::optional<double> total) {
    const std::size_t shown = std::min(count, kMaxTableRows);
    const double all = std::clamp(total.value_or(0), static_cast<double>(count), 1e12);
    table.left_out = static_cast<std::size_t>(all) - shown;
    return shown;
}

}  // namespace sync_engine

#include "connectors/config_section.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>

#include "connectors/json_text.hpp"

namespace sync_engine {
namespace {

std::string number_in_words(double number) {
    std::string text(32, '\0');
    const auto result =
        std::to_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
    text.resize(static_cast<std::size_t>(result.ptr - text.data()));
    return text;
}

// Levenshtein's distance, by rows.
std::size_t distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 1; i <= a.size(); ++i) {
        std::size_t diagonal = row[0];
        row[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
            diagonal = row[j];
            row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
        }
    }
    return row[b.size()];
}

std::string joined(std::span<const std::string_view> names) {
    std::string text;
    for (const std::string_view name : names) {
        text += (text.empty() ? "" : ", ") + std::string(name);
    }
    return text;
}

std::string with_article(const rapidjson::Value& value) {
    const std::string name(json_type_name(value));
    return (name == "array" || name == "object" ? "an " : "a ") + name;
}

}  // namespace

std::string_view nearest_name(std::string_view name, std::span<const std::string_view> names) {
    constexpr std::size_t kLongest = 64;  // the distance takes time in the square of the length
    std::string_view nearest;
    std::size_t best = name.size() > kLongest ? 0 : std::max<std::size_t>(2, name.size() / 3) + 1;
    for (const std::string_view candidate : names) {
        const std::size_t edits = best == 0 ? 0 : distance(name, candidate);
        if (edits < best) {
            best = edits;
            nearest = candidate;
        }
    }
    return nearest;
}

void ConfigSection::error(std::string_view key, std::string message) const {
    errors_.push_back({key.empty() ? path_ : path_of(key), std::move(message)});
}

bool ConfigSection::has(std::string_view key) const {
    return member(value_, key) != nullptr;
}

void ConfigSection::known_keys(std::span<const std::string_view> known) const {
    for (const auto& m : value_.GetObject()) {
        const std::string_view key = string_view_of(m.name);
        if (std::ranges::find(known, key) != known.end()) {
            continue;
        }
        const std::string_view nearest = nearest_name(key, known);
        error(key, "unknown key; " + (nearest.empty() ? "known are " + joined(known)
                                                      : "did you mean " + std::string(nearest) + "?"));
    }
}

void ConfigSection::require(std::string_view key) const {
    if (!has(key)) {
        error(key, "is required");
    }
}

std::optional<ConfigSection> ConfigSection::section(std::string_view key) const {
    const rapidjson::Value* value = member(value_, key);
    if (value == nullptr) {
        return std::nullopt;
    }
    if (!value->IsObject()) {
        error(key, "expected an object, not " + with_article(*value));
        return std::nullopt;
    }
    return ConfigSection(*value, path_of(key), errors_);
}

std::optional<std::string> ConfigSection::text(std::string_view key) const {
    const rapidjson::Value* value = member(value_, key);
    if (value == nullptr) {
        return std::nullopt;
    }
    if (!is_string(*value)) {
        error(key, "expected a string, not " + with_article(*value));
        return std::nullopt;
    }
    return std::string(string_view_of(*value));
}

std::optional<JsonPointer> ConfigSection::pointer(std::string_view key) const {
    const auto written = text(key);
    if (!written) {
        return std::nullopt;
    }
    auto pointer = JsonPointer::parse(*written);
    if (!pointer) {
        error(key, "expected a JSON pointer (RFC 6901): \"\" or one that begins with '/'");
    }
    return pointer;
}

std::optional<double> ConfigSection::number(std::string_view key, double lo, double hi) const {
    const rapidjson::Value* value = member(value_, key);
    if (value == nullptr) {
        return std::nullopt;
    }
    double number = NAN;
    if (is_number(*value)) {
        const std::string_view digits = number_text(*value);
        std::from_chars(digits.data(), digits.data() + digits.size(), number);
    }
    if (!(number >= lo && number <= hi)) {
        error(key, "expected a number from " + number_in_words(lo) + " to " + number_in_words(hi));
        return std::nullopt;
    }
    return number;
}

std::optional<long> ConfigSection::whole(std::string_view key, long lo, long hi) const {
    const auto value = number(key, static_cast<double>(lo), static_cast<double>(hi));
    if (!value) {
        return std::nullopt;
    }
    if (*value != std::floor(*value)) {
        error(key, "expected a whole number");
        return std::nullopt;
    }
    return std::lround(*value);
}

std::optional<bool> ConfigSection::flag(std::string_view key) const {
    const rapidjson::Value* value = member(value_, key);
    if (value == nullptr) {
        return std::nullopt;
    }
    if (!value->IsBool()) {
        error(key, "expected true or false");
        return std::nullopt;
    }
    return value->GetBool();
}

std::optional<std::size_t> ConfigSection::one_of(std::string_view key,
                                                 std::span<const std::string_view> names) const {
    const rapidjson::Value* value = member(value_, key);
    if (value == nullptr) {
        return std::nullopt;
    }
    const auto found = is_string(*value) ? std::ranges::find(names, string_view_of(*value)) : names.end();
    if (found == names.end()) {
        error(key, "expected one of " + joined(names));
        return std::nullopt;
    }
    return static_cast<std::size_t>(found - names.begin());
}

std::optional<TextTemplate> ConfigSection::text_template(std::string_view key, TemplateUse use) const {
    const auto written = text(key);
    if (!written) {
        return std::nullopt;
    }
    std::string fault;
    auto parsed = TextTemplate::parse(*written, use, fault);
    if (!parsed) {
        error(key, fault);
    }
    return parsed;
}

std::optional<ConfigText> ConfigSection::config_text(std::string_view key, bool templates) const {
    const rapidjson::Value* value = member(value_, key);
    if (value == nullptr) {
        return std::nullopt;
    }
    ConfigText result;
    if (value->IsObject() && value->MemberCount() == 1) {
        const auto& reference = *value->MemberBegin();
        const std::string_view name = string_view_of(reference.name);
        if ((name == "$env" || name == "$file") && is_string(reference.value)) {
            result.source = name == "$env" ? ConfigText::Source::env : ConfigText::Source::file;
            result.name = string_view_of(reference.value);
            return result;
        }
    }
    const auto plain = scalar_text(*value);
    if (!plain) {
        error(key, "expected a string or a secret reference such as {\"$env\": \"NAME\"}");
        return std::nullopt;
    }
    std::string fault;
    auto parsed = templates ? TextTemplate::parse(*plain, TemplateUse::request, fault)
                            : std::optional(TextTemplate::literal(*plain));
    if (!parsed) {
        error(key, fault);
        return std::nullopt;
    }
    result.text = *std::move(parsed);
    return result;
}

}  // namespace sync_engine

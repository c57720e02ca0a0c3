#include "connectors/cursor.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <cstdlib>

#include "connectors/json_text.hpp"

namespace sync_engine {
namespace {

std::string text_at(const rapidjson::Value& object, std::string_view name) {
    const rapidjson::Value* value = member(object, name);
    return value != nullptr && is_string(*value) ? std::string(string_view_of(*value)) : std::string();
}

std::optional<long> whole_at(const rapidjson::Value& object, std::string_view name) {
    const rapidjson::Value* value = member(object, name);
    if (value == nullptr || !is_number(*value)) {
        return std::nullopt;
    }
    long number = 0;
    const std::string_view text = number_text(*value);
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
    return code == std::errc() && end == text.data() + text.size() && number >= 0 ? std::optional(number)
                                                                                  : std::nullopt;
}

std::string json_at(const rapidjson::Value& object, std::string_view name) {
    const rapidjson::Value* value = member(object, name);
    return value == nullptr ? std::string() : json_of(*value);
}

void add(std::string& json, std::string_view name, std::string_view value_json) {
    json += json.size() > 1 ? ",\"" : "\"";
    json.append(name).append("\":").append(value_json);
}

void add_text(std::string& json, std::string_view name, std::string_view text) {
    if (!text.empty()) {
        add(json, name, json_text(text));
    }
}

constexpr std::array<std::string_view, 6> kMembers = {"watermark", "max",     "page",
                                                      "etag",      "etag_of", "restarted"};

std::optional<PagePosition> read_page(const rapidjson::Value& cursor) {
    const rapidjson::Value* page = member(cursor, "page");
    if (page == nullptr || !page->IsObject()) {
        return std::nullopt;
    }
    PagePosition position;
    position.url = text_at(*page, "url");
    position.token = text_at(*page, "token");
    position.number = whole_at(*page, "number");
    position.count = whole_at(*page, "count").value_or(0);
    position.started = parse_utc(text_at(*page, "started")).value_or(0);
    position.written = parse_utc(text_at(*page, "written")).value_or(0);
    return position;
}

std::string write_page(const PagePosition& page) {
    std::string json = "{";
    add_text(json, "url", page.url);
    add_text(json, "token", page.token);
    if (page.number) {
        add(json, "number", std::to_string(*page.number));
    }
    add(json, "count", std::to_string(page.count));
    add_text(json, "started", format_utc(page.started));
    add_text(json, "written", format_utc(page.written));
    return json + "}";
}

// [-]digits[.digits]: anything with an exponent is not plain.
bool is_plain_decimal(std::string_view text) {
    if (text.starts_with('-')) {
        text.remove_prefix(1);
    }
    const std::size_t dot = std::min(text.find('.'), text.size());
    const auto digits = [](std::string_view part) {
        return !part.empty() && std::ranges::all_of(part, [](char c) { return c >= '0' && c <= '9'; });
    };
    return digits(text.substr(0, dot)) && (dot == text.size() || digits(text.substr(dot + 1)));
}

// -1, 0 or 1, exact for any number of digits.
int compare_decimals(std::string_view a, std::string_view b) {
    if (!is_plain_decimal(a) || !is_plain_decimal(b)) {
        const long double x = std::strtold(std::string(a).c_str(), nullptr);
        const long double y = std::strtold(std::string(b).c_str(), nullptr);
        return x < y ? -1 : x > y ? 1 : 0;
    }
    const bool a_negative = a.starts_with('-');
    const bool b_negative = b.starts_with('-');
    if (a_negative != b_negative) {
        return a_negative ? -1 : 1;
    }
    if (a_negative) {
        return compare_decimals(b.substr(1), a.substr(1));
    }
    const auto split = [](std::string_view text) {
        const std::size_t dot = std::min(text.find('.'), text.size());
        std::string_view whole = text.substr(0, dot);
        whole.remove_prefix(std::min(whole.find_first_not_of('0'), whole.size()));
        std::string_view part = dot == text.size() ? std::string_view() : text.substr(dot + 1);
        part = part.substr(0, part.find_last_not_of('0') + 1);
        return std::pair(whole, part);
    };
    const auto [a_whole, a_part] = split(a);
    const auto [b_whole, b_part] = split(b);
    if (a_whole.size() != b_whole.size()) {
        return a_whole.size() < b_whole.size() ? -1 : 1;
    }
    const int whole = a_whole.compare(b_whole);
    const int order = whole != 0 ? whole : a_part.compare(b_part);
    return order < 0 ? -1 : order > 0 ? 1 : 0;
}

struct Mark {
    enum class Sort { time, number, text } sort = Sort::text;
    TimestampUs time = 0;
    std::string text;
    bool quoted = false;  // a JSON string
};

Mark classify(const std::string& json) {
    Mark mark;
    rapidjson::Document document;
    std::string error;
    if (!parse_json(json, document, error)) {
        return mark;
    }
    if (is_number(document)) {
        mark.sort = Mark::Sort::number;
        mark.text = number_text(document);
    } else if (document.IsString()) {
        mark.quoted = true;
        mark.text = string_view_of(document);
        if (const auto time = parse_utc(mark.text)) {
            mark.sort = Mark::Sort::time;
            mark.time = *time;
        } else if (is_plain_decimal(mark.text)) {
            mark.sort = Mark::Sort::number;
        }
    } else {
        mark.text = json;
    }
    return mark;
}

// Of different sorts, a text that is neither a time nor a number never wins: one odd record must not spoil
// the mark.
bool is_before(const Mark& a, const Mark& b) {
    if (a.sort != b.sort) {
        return b.sort != Mark::Sort::text;
    }
    switch (a.sort) {
        case Mark::Sort::time:
            return a.time < b.time;
        case Mark::Sort::number:
            return compare_decimals(a.text, b.text) < 0;
        case Mark::Sort::text:
            return a.text < b.text;
    }
    return false;
}

}  // namespace

std::optional<SyncCursor> read_cursor(std::string_view json) {
    SyncCursor cursor;
    rapidjson::Document document;
    std::string error;
    if (json.empty()) {
        return cursor;
    }
    if (!parse_json(clean_json(json).text, document, error)) {
        return std::nullopt;
    }
    if (is_number(document) || document.IsString()) {
        cursor.watermark_json = json_of(document);
        return cursor;
    }
    if (!document.IsObject()) {
        return document.IsNull() ? std::optional(cursor) : std::nullopt;
    }
    cursor.watermark_json = json_at(document, "watermark");
    cursor.max_json = json_at(document, "max");
    cursor.page = read_page(document);
    cursor.etag = text_at(document, "etag");
    cursor.etag_of = text_at(document, "etag_of");
    const rapidjson::Value* restarted = member(document, "restarted");
    cursor.restarted = restarted != nullptr && restarted->IsTrue();
    for (const auto& m : document.GetObject()) {
        if (std::ranges::find(kMembers, string_view_of(m.name)) == kMembers.end()) {
            cursor.others.emplace_back(string_view_of(m.name), json_of(m.value));
        }
    }
    return cursor;
}

std::string write_cursor(const SyncCursor& cursor) {
    std::string json = "{";
    if (!cursor.watermark_json.empty()) {
        add(json, "watermark", cursor.watermark_json);
    }
    if (!cursor.max_json.empty()) {
        add(json, "max", cursor.max_json);
    }
    if (cursor.page) {
        add(json, "page", write_page(*cursor.page));
    }
    add_text(json, "etag", cursor.etag);
    add_text(json, "etag_of", cursor.etag_of);
    if (cursor.restarted) {
        add(json, "restarted", "true");
    }
    for (const auto& [name, value] : cursor.others) {
        const std::string quoted = json_text(name);
        add(json, std::string_view(quoted).substr(1, quoted.size() - 2), value);
    }
    return json + "}";
}

std::string later_mark(const std::string& a, const std::string& b) {
    if (a.empty() || b.empty() || a == b) {
        return a.empty() ? b : a;
    }
    return is_before(classify(a), classify(b)) ? b : a;
}

std::string mark_of(const rapidjson::Value& record, const JsonPointer& pointer) {
    const rapidjson::Value* value = pointer.find(record);
    const bool usable =
        value != nullptr && (is_number(*value) || (value->IsString() && value->GetStringLength() > 0));
    return usable ? json_of(*value) : std::string();
}

std::string lagged_mark(const std::string& mark, const CursorConfig& config, TimestampUs started) {
    if (mark.empty()) {
        return mark;
    }
    const TimestampUs limit = add_seconds(started, -config.lag_seconds);
    const Mark read = classify(mark);
    std::string limit_text;
    if (config.format == TimeFormat::iso) {
        // Whole seconds, rounded down: not every API reads fractions.
        limit_text = format_utc(limit - ((limit % kMicrosPerSecond) + kMicrosPerSecond) % kMicrosPerSecond);
        if (read.sort != Mark::Sort::time || read.time <= limit) {
            return mark;
        }
    } else {
        const std::int64_t scale = config.format == TimeFormat::epoch_seconds ? 1 : 1000;
        limit_text = std::to_string(limit / (kMicrosPerSecond / scale) + kUnixEpochOffset * scale);
        if (read.sort != Mark::Sort::number || compare_decimals(read.text, limit_text) <= 0) {
            return mark;
        }
    }
    return read.quoted ? "\"" + limit_text + "\"" : limit_text;
}

std::string url_mark(std::string_view url) {
    std::uint64_t hash = 14'695'981'039'346'656'037U;  // FNV-1a
    for (const char c : url) {
        hash = (hash ^ static_cast<unsigned char>(c)) * 1'099'511'628'211U;
    }
    std::array<char, 17> text{};
    std::snprintf(text.data(), text.size(), "%016llx", static_cast<unsigned long long>(hash));
    return text.data();
}

}  // namespace sync_engine

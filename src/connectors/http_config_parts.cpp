#include "connectors/http_config_parts.hpp"

#include <algorithm>
#include <array>
#include <charconv>

#include "connectors/ascii.hpp"
#include "connectors/json_text.hpp"

namespace sync_engine {
namespace {

constexpr std::array<std::string_view, 3> kAuthTypes = {"bearer", "basic", "api_key"};
constexpr std::array<std::string_view, 3> kTimeFormats = {"iso", "epoch_seconds", "epoch_milliseconds"};
constexpr std::array<std::string_view, 6> kPagingTypes = {"none",         "link_header", "next_url",
                                                          "cursor_param", "page_number", "offset"};
constexpr std::array<std::string_view, 4> kFailureKinds = {"transient", "rate_limited", "unauthorized",
                                                           "permanent"};
// What the transport itself writes, and what would let a configuration smuggle a request.
constexpr std::array<std::string_view, 8> kReservedHeaders = {
    "host", "content-length", "transfer-encoding", "connection", "te", "trailer", "upgrade", "expect"};

constexpr long kMaxPages = 10'000'000;
constexpr long kMaxPageSize = 1'000'000;
// A follow-up job may wait in the queue: a position that expired meanwhile would begin the run anew for ever.
constexpr long kMinResumeSeconds = 3600;
constexpr long kMaxLagSeconds = 366L * 86'400;

bool is_token(std::string_view text) {
    constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
    return !text.empty() && std::ranges::all_of(text, [&](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
               kMarks.find(c) != std::string_view::npos;
    });
}

void check_header_name(const ConfigSection& section, std::string_view key, const std::string& name) {
    if (!is_token(name)) {
        section.error(key, "is not a header name");
    } else if (std::ranges::any_of(kReservedHeaders,
                                   [&](std::string_view other) { return same_ignoring_case(name, other); })) {
        section.error(key, "this header cannot be set");
    }
}

ConfigText required_text(const ConfigSection& section, std::string_view key) {
    section.require(key);
    return section.config_text(key, false).value_or(ConfigText{});
}

JsonPointer required_pointer(const ConfigSection& section, std::string_view key) {
    section.require(key);
    return section.pointer(key).value_or(JsonPointer());
}

std::string required_name(const ConfigSection& section, std::string_view key) {
    section.require(key);
    auto name = section.text(key);
    if (name && name->empty()) {
        section.error(key, "is empty");
    }
    return name.value_or("");
}

TimeFormat time_format(const ConfigSection& section) {
    return static_cast<TimeFormat>(section.one_of("format", kTimeFormats).value_or(0));
}

// A pointer, written plainly or as {"pointer": ...} with more keys beside it.
void read_occurred_at(const ConfigSection& mapping, MappingConfig& into) {
    const rapidjson::Value* value = member(mapping.value(), "occurred_at");
    if (value == nullptr || !value->IsObject()) {
        into.occurred_at = mapping.pointer("occurred_at");
        return;
    }
    const auto section = mapping.section("occurred_at");
    section->known_keys({"pointer", "format"});
    into.occurred_at = required_pointer(*section, "pointer");
    into.occurred_at_format = time_format(*section);
}

void read_kind(const ConfigSection& mapping, MappingConfig& into) {
    const rapidjson::Value* value = member(mapping.value(), "kind");
    if (value != nullptr && value->IsObject()) {
        const auto section = mapping.section("kind");
        section->known_keys({"pointer", "default"});
        into.kind_pointer = required_pointer(*section, "pointer");
        into.kind = section->text("default").value_or("");
    } else {
        into.kind = mapping.text("kind").value_or(into.kind);
        if (into.kind.empty()) {
            mapping.error("kind", "is empty");
        }
    }
}

void read_payload(const ConfigSection& mapping, MappingConfig& into) {
    const rapidjson::Value* value = member(mapping.value(), "payload");
    if (value != nullptr && value->IsObject()) {
        const auto section = mapping.section("payload");
        section->known_keys({"pointer"});
        into.payload = required_pointer(*section, "pointer");
    } else {
        into.payload = mapping.pointer("payload").value_or(JsonPointer());
    }
}

void read_paging_type(const ConfigSection& section, PagingConfig& paging) {
    using Type = PagingConfig::Type;
    switch (paging.type) {
        case Type::none:
        case Type::link_header:
            section.known_keys({"type", "size", "max_pages", "stop_on_empty_page", "resume_within_seconds"});
            break;
        case Type::next_url:
            section.known_keys(
                {"type", "pointer", "size", "max_pages", "stop_on_empty_page", "resume_within_seconds"});
            paging.pointer = required_pointer(section, "pointer");
            break;
        case Type::cursor_param:
            section.known_keys({"type", "pointer", "param", "size", "max_pages", "stop_on_empty_page",
                                "resume_within_seconds"});
            paging.pointer = required_pointer(section, "pointer");
            paging.param = required_name(section, "param");
            break;
        case Type::page_number:
            section.known_keys({"type", "param", "start", "size_param", "size", "max_pages",
                                "stop_on_short_page", "resume_within_seconds"});
            paging.param = required_name(section, "param");
            paging.size_param = section.text("size_param").value_or("");
            paging.start = section.whole("start", 0, kMaxPages).value_or(1);
            break;
        case Type::offset:
            section.known_keys({"type", "param", "limit_param", "size", "max_pages", "stop_on_short_page",
                                "resume_within_seconds"});
            paging.param = required_name(section, "param");
            paging.size_param = section.text("limit_param").value_or("");
            break;
    }
    if (!paging.size_param.empty()) {
        section.require("size");
    }
}

}  // namespace

AuthConfig read_auth(const ConfigSection& section) {
    AuthConfig auth;
    section.require("type");
    const auto type = section.one_of("type", kAuthTypes);
    if (!type) {
        return auth;
    }
    auth.type = static_cast<AuthConfig::Type>(*type + 1);
    if (auth.type == AuthConfig::Type::bearer) {
        section.known_keys({"type", "token"});
        auth.secret = required_text(section, "token");
    } else if (auth.type == AuthConfig::Type::basic) {
        section.known_keys({"type", "username", "password"});
        auth.username = required_text(section, "username");
        auth.secret = required_text(section, "password");
    } else {
        section.known_keys({"type", "in", "name", "value"});
        constexpr std::array<std::string_view, 2> places = {"header", "query"};
        section.require("in");
        auth.in_query = section.one_of("in", places).value_or(0) == 1;
        auth.name = required_name(section, "name");
        auth.secret = required_text(section, "value");
        if (!auth.in_query && !auth.name.empty()) {
            check_header_name(section, "name", auth.name);
        }
    }
    return auth;
}

MappingConfig read_mapping(const ConfigSection& section) {
    MappingConfig mapping;
    section.known_keys({"kind", "occurred_at", "dedupe_key", "payload"});
    read_kind(section, mapping);
    read_occurred_at(section, mapping);
    mapping.dedupe_key = section.text_template("dedupe_key", TemplateUse::record);
    if (mapping.dedupe_key && mapping.dedupe_key->is_literal()) {
        section.error("dedupe_key",
                      "must refer to the record, such as {{record.id}}: else all but one are lost");
    }
    read_payload(section, mapping);
    return mapping;
}

CursorConfig read_cursor_config(const ConfigSection& section) {
    CursorConfig cursor;
    section.known_keys({"max_of", "pointer", "lag_seconds", "format", "initial"});
    if (section.has("max_of") == section.has("pointer")) {
        section.error("", "expected either max_of or pointer");
        return cursor;
    }
    cursor.type = section.has("max_of") ? CursorConfig::Type::max_of : CursorConfig::Type::pointer;
    const bool is_max = cursor.type == CursorConfig::Type::max_of;
    cursor.pointer = section.pointer(is_max ? "max_of" : "pointer").value_or(JsonPointer());
    if (!is_max && section.has("lag_seconds")) {
        section.error("lag_seconds", "goes with max_of only");
    }
    cursor.lag_seconds = section.whole("lag_seconds", 0, kMaxLagSeconds).value_or(0);
    cursor.format = time_format(section);
    if (const rapidjson::Value* initial = member(section.value(), "initial")) {
        cursor.initial_json = json_of(*initial);
        if (!scalar_text(*initial)) {
            section.error("initial", "expected a string or a number");
        }
    }
    return cursor;
}

PagingConfig read_paging(const ConfigSection& section) {
    PagingConfig paging;
    section.require("type");
    const auto type = section.one_of("type", kPagingTypes);
    if (!type) {
        return paging;
    }
    paging.type = static_cast<PagingConfig::Type>(*type);
    paging.size = section.whole("size", 1, kMaxPageSize).value_or(0);
    paging.max_pages = section.whole("max_pages", 1, kMaxPages).value_or(0);
    paging.resume_within_seconds = section.whole("resume_within_seconds", kMinResumeSeconds, kMaxLagSeconds)
                                       .value_or(paging.resume_within_seconds);
    const bool counted =
        paging.type == PagingConfig::Type::page_number || paging.type == PagingConfig::Type::offset;
    // A server that names the next page may well send an empty one before it.
    paging.stop_on_empty_page = section.flag("stop_on_empty_page").value_or(counted);
    // Nor does a short page end anything by itself: a server may send fewer than `size` asks for.
    paging.stop_on_short_page = section.flag("stop_on_short_page").value_or(false);
    if (paging.stop_on_short_page) {
        section.require("size");
    }
    read_paging_type(section, paging);
    return paging;
}

std::map<long, FailureKind> read_status_map(const ConfigSection& section) {
    std::map<long, FailureKind> map;
    for (const auto& m : section.value().GetObject()) {
        const std::string key(string_view_of(m.name));
        long status = 0;
        const auto [end, code] = std::from_chars(key.data(), key.data() + key.size(), status);
        const bool good = code == std::errc() && end == key.data() + key.size() && key.size() == 3;
        if (!good || status < 300 || status > 599 || status == 304) {
            section.error(key, "expected a status from 300 to 599, but 304");
        } else if (const auto kind = section.one_of(key, kFailureKinds)) {
            map[status] = static_cast<FailureKind>(*kind);
        }
    }
    return map;
}

std::vector<NamedText> read_named_texts(const ConfigSection& section, bool headers) {
    std::vector<NamedText> result;
    for (const auto& m : section.value().GetObject()) {
        const std::string name(string_view_of(m.name));
        if (headers) {
            check_header_name(section, name, name);
        }
        if (auto value = section.config_text(name, true)) {
            result.push_back({name, *std::move(value)});
        }
    }
    return result;
}

}  // namespace sync_engine

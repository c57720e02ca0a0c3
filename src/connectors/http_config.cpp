#include "connectors/http_config.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "connectors/http_config_parts.hpp"
#include "connectors/json_text.hpp"
#include "connectors/presets.hpp"

namespace sync_engine {
namespace {

constexpr std::array<std::string_view, 15> kKeys = {"preset",
                                                    "base_url",
                                                    "path",
                                                    "query",
                                                    "headers",
                                                    "auth",
                                                    "records",
                                                    "mapping",
                                                    "cursor",
                                                    "paging",
                                                    "status_map",
                                                    "timeout_seconds",
                                                    "connect_timeout_seconds",
                                                    "max_body_bytes",
                                                    "sync_engine"};
constexpr long kMinBodyBytes = 1024;
constexpr long kMaxBodyBytes = 1L << 30;

void read_reserved(const rapidjson::Value& root, HttpConfig& config) {
    const rapidjson::Value* own = member(root, "sync_engine");
    if (own == nullptr) {
        return;
    }
    if (const rapidjson::Value* refused = member(*own, "refused");
        refused != nullptr && is_string(*refused)) {
        config.refused = string_view_of(*refused);
    }
    if (const rapidjson::Value* hosts = member(*own, "allowed_hosts"); hosts != nullptr && hosts->IsArray()) {
        for (const auto& host : hosts->GetArray()) {
            if (is_string(host)) {
                config.allowed_hosts.emplace_back(string_view_of(host));
            }
        }
    }
}

// Templates may stand in base_url's path, not in what says where to connect to.
void read_base_url(const ConfigSection& root, HttpConfig& config) {
    root.require("base_url");
    const auto text = root.text("base_url");
    if (!text) {
        return;
    }
    const std::size_t scheme = text->find("://");
    const std::size_t slash = scheme == std::string::npos ? scheme : text->find('/', scheme + 3);
    config.base_url = text->substr(0, slash);
    if (config.base_url.find("{{") != std::string::npos) {
        root.error("base_url", "templates are not allowed before the path");
        return;
    }
    const auto url =
        config.base_url.find_first_of("?#") == std::string::npos ? parse_url(config.base_url) : std::nullopt;
    if (!url) {
        root.error("base_url", "expected an http or https URL such as https://api.example.com/v1");
        return;
    }
    config.base = *url;
    std::string path = slash == std::string::npos ? "" : text->substr(slash);
    while (!path.empty() && path.back() == '/') {
        path.pop_back();
    }
    std::string fault;
    auto parsed = TextTemplate::parse(path, TemplateUse::request, fault);
    if (!parsed) {
        root.error("base_url", fault);
    } else {
        config.base_path = *std::move(parsed);
    }
}

void check_path(const ConfigSection& root, std::string_view key, const TextTemplate& path) {
    for (const auto& part : path.parts()) {
        if (part.root == TextTemplate::Root::literal &&
            part.text.find_first_of("?#\\") != std::string::npos) {
            root.error(key, "holds '?', '#' or '\\'; parameters belong into $.query");
        }
    }
}

void read_request(const ConfigSection& root, HttpConfig& config) {
    read_base_url(root, config);
    check_path(root, "base_url", config.base_path);
    if (auto path = root.text_template("path", TemplateUse::request)) {
        check_path(root, "path", *path);
        if (!path->parts().empty() && (path->parts()[0].root != TextTemplate::Root::literal ||
                                       !path->parts()[0].text.starts_with('/'))) {
            root.error("path", "must begin with '/'");
        }
        config.path = *std::move(path);
    }
    if (const auto query = root.section("query")) {
        config.query = read_named_texts(*query, false);
    }
    if (const auto headers = root.section("headers")) {
        config.headers = read_named_texts(*headers, true);
    }
    if (const auto auth = root.section("auth")) {
        config.auth = read_auth(*auth);
    }
}

void read_limits(const ConfigSection& root, HttpConfig& config) {
    if (const auto seconds = root.number("timeout_seconds", 0.1, kMaxTimeoutSeconds)) {
        config.timeout_ms = std::lround(*seconds * 1000);
    }
    if (const auto seconds = root.number("connect_timeout_seconds", 0.1, kMaxTimeoutSeconds)) {
        config.connect_timeout_ms = std::lround(*seconds * 1000);
    }
    if (const auto bytes = root.whole("max_body_bytes", kMinBodyBytes, kMaxBodyBytes)) {
        config.max_body_bytes = static_cast<std::size_t>(*bytes);
    }
}

void add_references(const TextTemplate& text, std::vector<std::string_view>& keys) {
    for (const auto& part : text.parts()) {
        if (part.root == TextTemplate::Root::config) {
            keys.push_back(part.pointer.parts().front());
        }
    }
}

// A key of the application's own is known by some template that refers to it.
void check_top_keys(const ConfigSection& root, const HttpConfig& config) {
    std::vector<std::string_view> keys(kKeys.begin(), kKeys.end());
    if (const rapidjson::Value* preset = member(root.value(), "preset");
        preset != nullptr && is_string(*preset) && string_view_of(*preset) == kPresetNames[0]) {
        keys.insert(keys.end(), {"owner", "repo"});
    }
    add_references(config.base_path, keys);
    add_references(config.path, keys);
    for (const auto* list : {&config.query, &config.headers}) {
        for (const NamedText& entry : *list) {
            add_references(entry.value.text, keys);
        }
    }
    root.known_keys(keys);
}

void read_sections(const ConfigSection& root, HttpConfig& config) {
    root.one_of("preset", kPresetNames);
    read_request(root, config);
    config.records = root.pointer("records").value_or(JsonPointer());
    if (const auto mapping = root.section("mapping")) {
        config.mapping = read_mapping(*mapping);
    }
    if (const auto cursor = root.section("cursor")) {
        config.cursor = read_cursor_config(*cursor);
    }
    if (const auto paging = root.section("paging")) {
        config.paging = read_paging(*paging);
    }
    if (const auto map = root.section("status_map")) {
        config.status_map = read_status_map(*map);
    }
    read_limits(root, config);
    check_top_keys(root, config);
}

bool is_empty(const rapidjson::Value& root) {
    return root.MemberCount() == 0 || (root.MemberCount() == 1 && root.HasMember("sync_engine"));
}

}  // namespace

HttpConfig read_http_config(std::string_view json, std::vector<ConfigError>& errors) {
    HttpConfig config;
    std::string error;
    const CleanJson clean = clean_json(json.empty() ? "{}" : json);
    if (!parse_json(clean.text, config.document, error)) {
        errors.push_back({"$", error});
    } else if (!config.document.IsObject()) {
        errors.push_back({"$", "expected an object"});
    } else if (read_reserved(config.document, config); is_empty(config.document)) {
        errors.push_back({"$", "provider has no configuration"});
    } else {
        apply_preset(config.document);
        read_sections(ConfigSection(config.document, "$", errors), config);
    }
    return config;
}

}  // namespace sync_engine

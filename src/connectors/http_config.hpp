// The `http` connector's configuration, read and checked. docs/connectors.md describes each field.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <rapidjson/document.h>

#include "connectors/config_section.hpp"
#include "connectors/connector.hpp"
#include "connectors/json_pointer.hpp"
#include "connectors/template.hpp"
#include "core/url.hpp"

namespace sync_engine {

struct NamedText {
    std::string name;
    ConfigText value;
};

struct AuthConfig {
    enum class Type { none, bearer, basic, api_key };
    Type type = Type::none;
    ConfigText secret;  // token, password or value
    ConfigText username;
    bool in_query = false;  // api_key
    std::string name;       // of the header or query parameter
};

enum class TimeFormat { iso, epoch_seconds, epoch_milliseconds };

struct MappingConfig {
    std::string kind = "record";
    std::optional<JsonPointer> kind_pointer;
    std::optional<JsonPointer> occurred_at;
    TimeFormat occurred_at_format = TimeFormat::iso;
    std::optional<TextTemplate> dedupe_key;  // none: a hash of the payload
    JsonPointer payload;
};

struct CursorConfig {
    enum class Type { none, max_of, pointer };
    Type type = Type::none;
    JsonPointer pointer;  // into a record for max_of, into the reply for pointer
    long lag_seconds = 0;
    TimeFormat format = TimeFormat::iso;
    std::string initial_json;  // the watermark of a connection that has none; empty: none
};

struct PagingConfig {
    enum class Type { none, link_header, next_url, cursor_param, page_number, offset };
    Type type = Type::none;
    JsonPointer pointer;
    std::string param;
    std::string size_param;  // limit_param of offset
    long size = 0;           // records of a full page; 0: not known
    long start = 1;
    long max_pages = 0;  // of one run; 0: no limit of its own
    bool stop_on_short_page = false;
    bool stop_on_empty_page = true;
    long resume_within_seconds = 86'400;
};

struct HttpConfig {
    rapidjson::Document document;  // what {{config...}} refers to: preset and configuration merged
    std::string refused;           // of the reserved key; empty: not refused
    std::vector<std::string> allowed_hosts;

    Url base{};            // of base_url
    std::string base_url;  // scheme://authority as it is written
    TextTemplate base_path;
    TextTemplate path;
    std::vector<NamedText> query;
    std::vector<NamedText> headers;
    AuthConfig auth;
    JsonPointer records;
    MappingConfig mapping;
    CursorConfig cursor;
    PagingConfig paging;
    std::map<long, FailureKind> status_map;
    long timeout_ms = 60'000;
    long connect_timeout_ms = 10'000;
    std::size_t max_body_bytes = 32U << 20U;
};

// Reads `json`. Where `errors` is not empty afterwards the result must not be used, but for `refused`.
HttpConfig read_http_config(std::string_view json, std::vector<ConfigError>& errors);

}  // namespace sync_engine

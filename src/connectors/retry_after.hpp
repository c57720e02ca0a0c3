#pragma once

#include <optional>
#include <string_view>

#include <rapidjson/document.h>

#include "connectors/connector.hpp"

namespace sync_engine {

// Whether two header names are the same: ASCII letters have no case in them.
bool same_header_name(std::string_view a, std::string_view b);

// The value of the first header of that name, whatever its case; nothing when there is none.
std::optional<std::string_view> header(const Headers& headers, std::string_view name);

// An HTTP date as RFC 9110 wants it sent: "Sun, 06 Nov 1994 08:49:37 GMT". Nothing for anything else.
std::optional<TimestampUs> parse_http_date(std::string_view text);

// Seconds to wait by the Retry-After header, in either of its forms (RFC 9110, 10.2.3); a date in the past is
// 0. Nothing when it is missing or malformed.
std::optional<double> retry_after_seconds(const Headers& headers, TimestampUs now);

// A JSON number that is not negative.
std::optional<double> json_seconds(const rapidjson::Value& value);

}  // namespace sync_engine

#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include <rapidjson/document.h>

#include "connectors/connector.hpp"
#include "connectors/http_config.hpp"

namespace sync_engine {

struct MappedRecords {
    std::vector<std::string> signals;  // JSON object texts
    std::string max_json;              // the latest mark of the records where the cursor is max_of; else ""
    std::size_t without_time = 0;      // records whose occurred_at is missing or unreadable: now is taken
    std::size_t without_mark = 0;      // records without the field that the cursor is the maximum of
};

// The reply's array of records as signals. A record without a kind, a part of its dedupe key or its payload
// is a permanent failure that names the record and the place: leaving it out would lose it silently.
std::variant<MappedRecords, Failure> map_records(const HttpConfig& config, const rapidjson::Value& records);

// A record's time: ISO 8601, or seconds or milliseconds since 1970 as a number or digits in a string.
std::optional<TimestampUs> record_time(const rapidjson::Value& value, TimeFormat format);

}  // namespace sync_engine

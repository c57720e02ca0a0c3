#include "connectors/signal_mapping.hpp"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdio>

#include "connectors/cursor.hpp"
#include "connectors/http_failure.hpp"
#include "connectors/json_text.hpp"
#include "connectors/template.hpp"

namespace sync_engine {
namespace {

// FNV-1a with 128 bits, as hexadecimal digits.
std::string content_key(std::string_view text) {
    __extension__ using Wide = unsigned __int128;
    Wide hash = (static_cast<Wide>(0x6c62272e07bb0142U) << 64U) | 0x62b821756295c58dU;
    const Wide prime = (static_cast<Wide>(1) << 88U) | 0x13bU;
    for (const char c : text) {
        hash = (hash ^ static_cast<unsigned char>(c)) * prime;
    }
    std::array<char, 33> digits{};
    std::snprintf(digits.data(), digits.size(), "%016llx%016llx",
                  static_cast<unsigned long long>(hash >> 64U),
                  static_cast<unsigned long long>(hash & UINT64_MAX));
    return digits.data();
}

// One record's signal, or what is missing from it: "mapping.kind: /type is missing".
struct Mapped {
    std::string signal;
    std::string fault;
};

std::string kind_of(const MappingConfig& mapping, const rapidjson::Value& record, std::string& fault) {
    if (!mapping.kind_pointer) {
        return mapping.kind;
    }
    const rapidjson::Value* value = mapping.kind_pointer->find(record);
    std::string kind = value == nullptr ? std::string() : scalar_text(*value).value_or("");
    if (kind.empty()) {
        kind = mapping.kind;
    }
    if (kind.empty()) {
        fault = "mapping.kind: " + mapping.kind_pointer->path() + " is missing and there is no default";
    }
    return kind;
}

Mapped map_record(const MappingConfig& mapping, const rapidjson::Value& record, std::size_t& without_time) {
    Mapped result;
    std::string& out = result.signal;
    out = "{\"kind\":";
    append_json_text(out, kind_of(mapping, record, result.fault));
    if (mapping.occurred_at) {
        const rapidjson::Value* value = mapping.occurred_at->find(record);
        const auto time = value == nullptr ? std::nullopt : record_time(*value, mapping.occurred_at_format);
        if (time) {
            out += ",\"occurred_at\":\"" + format_utc(*time) + "\"";
        } else {
            ++without_time;
        }
    }
    const rapidjson::Value* payload = mapping.payload.find(record);
    if (payload == nullptr) {
        result.fault = "mapping.payload: " + mapping.payload.path() + " is missing";
        return result;
    }
    const std::string payload_text = json_of(*payload);
    out += ",\"dedupe_key\":";
    if (mapping.dedupe_key) {
        const Rendered key = render(*mapping.dedupe_key, {.record = &record}, TextEncoding::plain);
        if (!key.missing.empty()) {
            result.fault = "mapping.dedupe_key: {{" + key.missing + "}} " + key.problem;
        }
        append_json_text(out, key.text);
    } else {
        append_json_text(out, content_key(payload_text));
    }
    out += ",\"payload\":" + payload_text + "}";
    return result;
}

}  // namespace

std::optional<TimestampUs> record_time(const rapidjson::Value& value, TimeFormat format) {
    const auto text = value.IsBool() ? std::nullopt : scalar_text(value);
    if (!text) {
        return std::nullopt;
    }
    if (format == TimeFormat::iso) {
        return is_number(value) ? std::nullopt : parse_utc(*text);
    }
    long double number = 0;
    const auto [end, code] = std::from_chars(text->data(), text->data() + text->size(), number);
    if (code != std::errc() || end != text->data() + text->size()) {
        return std::nullopt;
    }
    const long double unit = format == TimeFormat::epoch_seconds ? kMicrosPerSecond : 1000;
    const long double micros =
        std::round(number * unit) - static_cast<long double>(kUnixEpochOffset) * kMicrosPerSecond;
    // Compared before the conversion, which is undefined outside the range. NaN fails both.
    if (!(micros >= static_cast<long double>(kTimestampMin) &&
          micros < static_cast<long double>(kTimestampEnd))) {
        return std::nullopt;
    }
    return static_cast<TimestampUs>(micros);
}

std::variant<MappedRecords, Failure> map_records(const HttpConfig& config, const rapidjson::Value& records) {
    MappedRecords result;
    result.signals.reserve(records.Size());
    for (rapidjson::SizeType i = 0; i < records.Size(); ++i) {
        Mapped mapped = map_record(config.mapping, records[i], result.without_time);
        if (!mapped.fault.empty()) {
            return permanent_failure("mapping",
                                     config.records.path() + "[" + std::to_string(i) + "]: " + mapped.fault);
        }
        result.signals.push_back(std::move(mapped.signal));
        if (config.cursor.type == CursorConfig::Type::max_of) {
            const std::string mark = mark_of(records[i], config.cursor.pointer);
            result.without_mark += mark.empty() ? 1 : 0;
            result.max_json = later_mark(result.max_json, mark);
        }
    }
    return result;
}

}  // namespace sync_engine

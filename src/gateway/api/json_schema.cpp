#include "gateway/api/json_schema.hpp"

#include <string_view>

#include <rapidjson/pointer.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include "core/time.hpp"

namespace sync_engine {

namespace {

std::string to_text(const rapidjson::Pointer& pointer) {
    rapidjson::StringBuffer buffer;
    pointer.Stringify(buffer);
    return buffer.GetString();
}

std::string to_text(const rapidjson::Value& value) {
    rapidjson::StringBuffer buffer;
    rapidjson::Writer<rapidjson::StringBuffer> writer(buffer);
    value.Accept(writer);
    return buffer.GetString();
}

std::string joined(const rapidjson::Value& values) {
    if (!values.IsArray()) {
        return values.IsString() ? values.GetString() : to_text(values);
    }
    std::string out;
    for (const auto& value : values.GetArray()) {
        out += out.empty() ? "" : ", ";
        out += value.IsString() ? value.GetString() : to_text(value);
    }
    return out;
}

std::string escaped(std::string_view name) {
    std::string out;
    for (const char c : name) {
        out += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
    }
    return out;
}

// The member that is missing: the validator tells the object alone.
std::optional<SchemaFault> member_fault(const rapidjson::Value& schema, const rapidjson::Value& object,
                                        const std::string& pointer, std::string_view keyword) {
    if (!object.IsObject()) {
        return std::nullopt;
    }
    if (keyword == "required" && schema.HasMember("required")) {
        for (const auto& name : schema["required"].GetArray()) {
            if (!object.HasMember(name)) {
                return SchemaFault{pointer + "/" + escaped(name.GetString()), "is missing"};
            }
        }
    }
    return std::nullopt;
}

struct Wording {
    std::string_view keyword;
    std::string_view before;
    std::string_view after;
};

// What is said of each keyword, around its value in the schema.
constexpr Wording kWordings[] = {
    {"type", "must be of type ", ""},
    {"enum", "must be one of ", ""},
    {"minLength", "must have at least ", " characters"},
    {"maxLength", "must have at most ", " characters"},
    {"minimum", "must be at least ", ""},
    {"maximum", "must be at most ", ""},
    {"minItems", "must have at least ", " elements"},
    {"maxItems", "must have at most ", " elements"},
    {"minProperties", "must have at least ", " members"},
    {"maxProperties", "must have at most ", " members"},
    {"pattern", "must match ", ""},
    {"uniqueItems", "must not have an element twice", ""},
    {"additionalProperties", "is not known here", ""},
};

std::string wording(const rapidjson::Value* schema, std::string_view keyword) {
    for (const Wording& known : kWordings) {
        if (known.keyword != keyword) {
            continue;
        }
        std::string out(known.before);
        const std::string name(keyword);
        if (known.before.ends_with(' ') && schema != nullptr && schema->IsObject() &&
            schema->HasMember(name)) {
            out += joined((*schema)[name]);
        }
        return out + std::string(known.after);
    }
    return "is not as " + std::string(keyword) + " of its schema asks";
}

bool is_zone(std::string_view text) {
    return text == "Z" || (text.size() == 6 && (text[0] == '+' || text[0] == '-') && text[3] == ':');
}

// RFC 3339: of what the database would read besides, "tomorrow" and "infinity" mean nothing in a request, and
// a time without a zone would be in the session's.
bool is_date_time(std::string_view text) {
    constexpr std::size_t kSeconds = 19;  // of 2026-03-01T12:15:00
    if (text.size() <= kSeconds || text[4] != '-' || text[10] != 'T' || text[16] != ':') {
        return false;
    }
    const std::size_t zone = text.find_first_of("Z+-", kSeconds);
    return zone != std::string_view::npos && is_zone(text.substr(zone)) && text.substr(0, 4) != "0000" &&
           parse_utc(text).has_value();
}

// What the validator leaves alone.
std::optional<SchemaFault> own_format_fault(std::string_view format, const rapidjson::Value& value,
                                            const std::string& pointer) {
    if (format == "date-time" && value.IsString() && !is_date_time(value.GetString())) {
        return SchemaFault{pointer, "must be a time with a zone, like 2026-03-01T12:15:00Z"};
    }
    if (format == "int64" && value.IsNumber() && !value.IsInt64()) {
        return SchemaFault{pointer, "must be at most 9223372036854775807"};
    }
    return std::nullopt;
}

// Formats of the value and of what it holds.
std::optional<SchemaFault> format_fault(const rapidjson::Value& schema, const rapidjson::Value& value,
                                        const std::string& pointer) {
    const auto format = schema.FindMember("format");
    if (format != schema.MemberEnd()) {
        if (auto fault = own_format_fault(joined(format->value), value, pointer)) {
            return fault;
        }
    }
    const auto items = schema.FindMember("items");
    if (items != schema.MemberEnd() && value.IsArray()) {
        for (rapidjson::SizeType i = 0; i < value.Size(); i++) {
            if (auto fault = format_fault(items->value, value[i], pointer + "/" + std::to_string(i))) {
                return fault;
            }
        }
    }
    const auto properties = schema.FindMember("properties");
    if (properties != schema.MemberEnd() && value.IsObject()) {
        for (const auto& property : properties->value.GetObject()) {
            const auto member = value.FindMember(property.name);
            if (member == value.MemberEnd()) {
                continue;
            }
            auto fault = format_fault(property.value, member->value,
                                      pointer + "/" + escaped(property.name.GetString()));
            if (fault) {
                return fault;
            }
        }
    }
    return std::nullopt;
}

}  // namespace

JsonSchema::JsonSchema(const rapidjson::Value& schema) {
    auto source = std::make_shared<rapidjson::Document>();
    source->CopyFrom(schema, source->GetAllocator());
    compiled_ = std::make_shared<const rapidjson::SchemaDocument>(*source);
    source_ = std::move(source);
}

std::optional<SchemaFault> JsonSchema::check(const rapidjson::Value& value) const {
    rapidjson::SchemaValidator validator(*compiled_);
    if (value.Accept(validator)) {
        return format_fault(*source_, value, "");
    }
    const std::string pointer = to_text(validator.GetInvalidDocumentPointer());
    const std::string_view keyword = validator.GetInvalidSchemaKeyword();
    const rapidjson::Value* schema = validator.GetInvalidSchemaPointer().Get(*source_);
    const rapidjson::Value* at = rapidjson::Pointer(pointer.c_str()).Get(value);
    if (schema != nullptr && schema->IsObject() && at != nullptr) {
        if (auto fault = member_fault(*schema, *at, pointer, keyword)) {
            return fault;
        }
    }
    return SchemaFault{pointer, wording(schema, keyword)};
}

}  // namespace sync_engine

// JSON as connectors read and write it: whatever PostgreSQL's jsonb would refuse is replaced, numbers keep
// their text.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include <rapidjson/document.h>

namespace sync_engine {

struct CleanJson {
    std::string text;
    std::size_t replaced = 0;  // how many characters became U+FFFD
};

// `raw` with bytes that are not UTF-8, NUL (also as \u0000) and lone surrogate escapes replaced by U+FFFD,
// and other control characters inside strings escaped. Whether it is JSON at all is not judged.
CleanJson clean_json(std::string_view raw);

// Nesting beyond this is refused, so that neither writing nor freeing a document can exhaust the stack.
inline constexpr int kMaxJsonDepth = 200;

// Parses `text`, which clean_json has been over. Numbers are kept as they are written: see is_number. On
// failure false, and `error` says what is wrong and at which byte.
bool parse_json(std::string_view text, rapidjson::Document& out, std::string& error);

// A number of a parsed document is a string value that begins with byte 0xFF, which no UTF-8 text holds.
bool is_number(const rapidjson::Value& value);
// Its text as it stood in the document.
std::string_view number_text(const rapidjson::Value& value);
// A string that is not a number.
bool is_string(const rapidjson::Value& value);
std::string_view string_view_of(const rapidjson::Value& value);

// "null", "object", "number", ...: for messages.
std::string_view json_type_name(const rapidjson::Value& value);

// Appends `value` as JSON text, numbers unchanged; one that PostgreSQL's numeric could not hold (more than
// 131072 digits before the point or 16383 after it) as a string.
void append_json(std::string& out, const rapidjson::Value& value);
std::string json_of(const rapidjson::Value& value);

// Appends `text`, which must be UTF-8, as a JSON string in quotes.
void append_json_text(std::string& out, std::string_view text);
std::string json_text(std::string_view text);

// The member of that name; null when `object` is not an object, has none, or it is JSON null.
const rapidjson::Value* member(const rapidjson::Value& object, std::string_view name);

}  // namespace sync_engine

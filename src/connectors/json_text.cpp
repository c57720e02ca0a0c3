#include "connectors/json_text.hpp"

#include <cstdint>
#include <utility>

#include <rapidjson/error/en.h>
#include <rapidjson/memorystream.h>
#include <rapidjson/reader.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

namespace sync_engine {
namespace {

constexpr char kNumberMark = '\xFF';
constexpr std::string_view kReplacement = "\xEF\xBF\xBD";
constexpr std::string_view kReplacementEscape = "\\ufffd";

// Length of the well-formed UTF-8 character at the start of `s` (Unicode 15, table 3-7), 0 when there is
// none.
std::size_t utf8_length(std::string_view s) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(s[i]); };
    const auto follows = [&](std::size_t i, unsigned lo = 0x80, unsigned hi = 0xBF) {
        return i < s.size() && byte(i) >= lo && byte(i) <= hi;
    };
    const unsigned first = byte(0);
    if (first < 0x80) {
        return 1;
    }
    if (first >= 0xC2 && first <= 0xDF) {
        return follows(1) ? 2 : 0;
    }
    if (first >= 0xE0 && first <= 0xEF) {
        const unsigned lo = first == 0xE0 ? 0xA0 : 0x80;
        const unsigned hi = first == 0xED ? 0x9F : 0xBF;
        return follows(1, lo, hi) && follows(2) ? 3 : 0;
    }
    if (first >= 0xF0 && first <= 0xF4) {
        const unsigned lo = first == 0xF0 ? 0x90 : 0x80;
        const unsigned hi = first == 0xF4 ? 0x8F : 0xBF;
        return follows(1, lo, hi) && follows(2) && follows(3) ? 4 : 0;
    }
    return 0;
}

// The four hexadecimal digits at `at`, -1 when they are not there.
int hex4(std::string_view s, std::size_t at) {
    if (at + 4 > s.size()) {
        return -1;
    }
    int value = 0;
    for (std::size_t i = at; i < at + 4; ++i) {
        const char c = s[i];
        const int digit = c >= '0' && c <= '9'   ? c - '0'
                          : c >= 'a' && c <= 'f' ? c - 'a' + 10
                          : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                 : -1;
        if (digit < 0) {
            return -1;
        }
        value = value * 16 + digit;
    }
    return value;
}

bool is_high_surrogate(int unit) {
    return unit >= 0xD800 && unit <= 0xDBFF;
}

bool is_low_surrogate(int unit) {
    return unit >= 0xDC00 && unit <= 0xDFFF;
}

// Copies the escape at s[at] (a backslash) and returns how many bytes it took.
std::size_t copy_escape(std::string_view s, std::size_t at, CleanJson& out) {
    if (at + 1 >= s.size()) {
        out.text.push_back('\\');
        return 1;
    }
    const int unit = s[at + 1] == 'u' ? hex4(s, at + 2) : -1;
    if (unit < 0) {
        // What follows is not consumed unless it is the second half of a two-byte escape.
        const bool plain =
            static_cast<unsigned char>(s[at + 1]) >= 0x20 && static_cast<unsigned char>(s[at + 1]) < 0x80;
        out.text.append(s.substr(at, plain ? 2 : 1));
        return plain ? 2 : 1;
    }
    if (is_high_surrogate(unit) && s.substr(at + 6, 2) == "\\u" && is_low_surrogate(hex4(s, at + 8))) {
        out.text.append(s.substr(at, 12));
        return 12;
    }
    if (unit == 0 || is_high_surrogate(unit) || is_low_surrogate(unit)) {
        out.text.append(kReplacementEscape);
        ++out.replaced;
        return 6;
    }
    out.text.append(s.substr(at, 6));
    return 6;
}

void copy_control(char c, CleanJson& out) {
    static constexpr std::string_view digits = "0123456789abcdef";
    if (c == '\0') {
        out.text.append(kReplacement);
        ++out.replaced;
        return;
    }
    out.text.append("\\u00");
    out.text.push_back(digits[static_cast<unsigned char>(c) >> 4U]);
    out.text.push_back(digits[static_cast<unsigned char>(c) & 15U]);
}

// Hands a reader's events on to a document, numbers as marked strings, and bounds the depth.
class MarkNumbers {
  public:
    explicit MarkNumbers(rapidjson::Document& to) : to_(to) {}

    bool Null() { return to_.Null(); }
    bool Bool(bool b) { return to_.Bool(b); }
    bool Int(int) { return false; }
    bool Uint(unsigned) { return false; }
    bool Int64(std::int64_t) { return false; }
    bool Uint64(std::uint64_t) { return false; }
    bool Double(double) { return false; }
    bool RawNumber(const char* text, rapidjson::SizeType length, bool) {
        number_.assign(1, kNumberMark).append(text, length);
        return to_.String(number_.data(), static_cast<rapidjson::SizeType>(number_.size()), true);
    }
    bool String(const char* text, rapidjson::SizeType length, bool copy) {
        return to_.String(text, length, copy);
    }
    bool Key(const char* text, rapidjson::SizeType length, bool copy) { return to_.Key(text, length, copy); }
    bool StartObject() { return deeper() && to_.StartObject(); }
    bool EndObject(rapidjson::SizeType n) {
        --depth_;
        return to_.EndObject(n);
    }
    bool StartArray() { return deeper() && to_.StartArray(); }
    bool EndArray(rapidjson::SizeType n) {
        --depth_;
        return to_.EndArray(n);
    }
    bool too_deep() const { return depth_ > kMaxJsonDepth; }

  private:
    bool deeper() { return ++depth_ <= kMaxJsonDepth; }

    rapidjson::Document& to_;
    std::string number_;
    int depth_ = 0;
};

using TextBuffer = rapidjson::StringBuffer;

void write_value(rapidjson::Writer<TextBuffer>& writer, const rapidjson::Value& value) {
    if (value.IsObject()) {
        writer.StartObject();
        for (const auto& m : value.GetObject()) {
            writer.Key(m.name.GetString(), m.name.GetStringLength());
            write_value(writer, m.value);
        }
        writer.EndObject();
    } else if (value.IsArray()) {
        writer.StartArray();
        for (const auto& element : value.GetArray()) {
            write_value(writer, element);
        }
        writer.EndArray();
    } else if (is_number(value)) {
        const std::string_view text = number_text(value);
        writer.RawValue(text.data(), text.size(), rapidjson::kNumberType);
    } else {
        value.Accept(writer);
    }
}

}  // namespace

CleanJson clean_json(std::string_view raw) {
    CleanJson out;
    out.text.reserve(raw.size());
    bool in_string = false;
    for (std::size_t i = 0; i < raw.size();) {
        const char c = raw[i];
        if (in_string && c == '\\') {
            i += copy_escape(raw, i, out);
        } else if (static_cast<unsigned char>(c) < 0x20 && (in_string || c == '\0')) {
            copy_control(c, out);
            ++i;
        } else if (const std::size_t length = utf8_length(raw.substr(i)); length > 0) {
            in_string = in_string != (c == '"');
            out.text.append(raw.substr(i, length));
            i += length;
        } else {
            out.text.append(kReplacement);
            ++out.replaced;
            ++i;
        }
    }
    return out;
}

bool parse_json(std::string_view text, rapidjson::Document& out, std::string& error) {
    // A byte order mark is not JSON but is sent by some.
    if (text.substr(0, 3) == "\xEF\xBB\xBF") {
        text.remove_prefix(3);
    }
    rapidjson::ParseResult result;
    bool too_deep = false;
    auto read = [&](rapidjson::Document& document) {
        constexpr unsigned flags = rapidjson::kParseIterativeFlag | rapidjson::kParseNumbersAsStringsFlag;
        rapidjson::MemoryStream stream(text.data(), text.size());
        rapidjson::Reader reader;
        MarkNumbers handler(document);
        result = reader.Parse<flags>(stream, handler);
        too_deep = handler.too_deep();
        return !result.IsError();
    };
    out.Populate(read);
    if (!result.IsError()) {
        return true;
    }
    out.SetNull();
    error = too_deep ? "nested deeper than " + std::to_string(kMaxJsonDepth) + " levels"
                     : std::string(rapidjson::GetParseError_En(result.Code()));
    error += " at byte " + std::to_string(result.Offset());
    return false;
}

bool is_number(const rapidjson::Value& value) {
    return value.IsString() && value.GetStringLength() > 0 && value.GetString()[0] == kNumberMark;
}

std::string_view number_text(const rapidjson::Value& value) {
    return {value.GetString() + 1, value.GetStringLength() - 1};
}

bool is_string(const rapidjson::Value& value) {
    return value.IsString() && !is_number(value);
}

std::string_view string_view_of(const rapidjson::Value& value) {
    return {value.GetString(), value.GetStringLength()};
}

std::string_view json_type_name(const rapidjson::Value& value) {
    switch (value.GetType()) {
        case rapidjson::kNullType:
            return "null";
        case rapidjson::kFalseType:
        case rapidjson::kTrueType:
            return "boolean";
        case rapidjson::kObjectType:
            return "object";
        case rapidjson::kArrayType:
            return "array";
        default:
            return is_string(value) ? "string" : "number";
    }
}

void append_json(std::string& out, const rapidjson::Value& value) {
    TextBuffer buffer;
    rapidjson::Writer<TextBuffer> writer(buffer);
    write_value(writer, value);
    out.append(buffer.GetString(), buffer.GetSize());
}

std::string json_of(const rapidjson::Value& value) {
    std::string out;
    append_json(out, value);
    return out;
}

void append_json_text(std::string& out, std::string_view text) {
    TextBuffer buffer;
    rapidjson::Writer<TextBuffer> writer(buffer);
    writer.String(text.data(), static_cast<rapidjson::SizeType>(text.size()));
    out.append(buffer.GetString(), buffer.GetSize());
}

const rapidjson::Value* member(const rapidjson::Value& object, std::string_view name) {
    if (!object.IsObject()) {
        return nullptr;
    }
    const auto found = object.FindMember(
        rapidjson::Value(rapidjson::StringRef(name.data(), static_cast<rapidjson::SizeType>(name.size()))));
    return found == object.MemberEnd() || found->value.IsNull() ? nullptr : &found->value;
}

}  // namespace sync_engine

#include "connectors/json_text.hpp"

#include <charconv>
#include <cstdint>
#include <utility>

#include <rapidjson/error/en.h>
#include <rapidjson/memorystream.h>
#include <rapidjson/reader.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include "core/utf8.hpp"

namespace sync_engine {
namespace {

constexpr char kNumberMark = '\xFF';
constexpr std::string_view kReplacement = "\xEF\xBF\xBD";
constexpr std::string_view kReplacementEscape = "\\ufffd";

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
        // A control character that follows is left as it is: escaping it would make good JSON of a bad
        // escape. What needs replacing is not consumed.
        const auto next = static_cast<unsigned char>(s[at + 1]);
        const std::size_t length = next > 0 && next < 0x80 ? 2 : 1;
        out.text.append(s.substr(at, length));
        return length;
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

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

// The parts of the JSON number at the start of a text.
struct NumberShape {
    std::size_t length = 0;  // of the whole, 0 when there is none
    std::size_t int_digits = 0;
    std::size_t frac_digits = 0;
    std::string_view exponent;  // with its sign
};

NumberShape number_shape(std::string_view s) {
    const auto at = [&](std::size_t i) { return i < s.size() ? s[i] : '\0'; };
    const auto digits = [&](std::size_t from) {
        std::size_t n = 0;
        while (is_digit(at(from + n))) {
            ++n;
        }
        return n;
    };
    NumberShape shape;
    std::size_t end = at(0) == '-' ? 1 : 0;
    shape.int_digits = at(end) == '0' ? 1 : digits(end);
    if (shape.int_digits == 0) {
        return {};
    }
    end += shape.int_digits;
    if (at(end) == '.' && is_digit(at(end + 1))) {
        shape.frac_digits = digits(end + 1);
        end += 1 + shape.frac_digits;
    }
    if (at(end) == 'e' || at(end) == 'E') {
        const std::size_t sign = at(end + 1) == '-' || at(end + 1) == '+' ? 1 : 0;
        if (const std::size_t n = digits(end + 1 + sign); n > 0) {
            shape.exponent = s.substr(end + 1, sign + n);
            end += 1 + sign + n;
        }
    }
    shape.length = end;
    return shape;
}

// Whether PostgreSQL's numeric, in which jsonb keeps numbers, can hold it: digits before and after the point.
bool fits_numeric(std::string_view number) {
    constexpr long kMaxBefore = 131'072;
    constexpr long kMaxAfter = 16'383;
    const NumberShape shape = number_shape(number);
    long exponent = 0;
    if (!shape.exponent.empty()) {
        const auto text = shape.exponent.substr(shape.exponent.front() == '+' ? 1 : 0);
        if (std::from_chars(text.data(), text.data() + text.size(), exponent).ec != std::errc() ||
            exponent > kMaxBefore || exponent < -kMaxBefore) {
            return false;
        }
    }
    return static_cast<long>(shape.int_digits) + exponent <= kMaxBefore &&
           static_cast<long>(shape.frac_digits) - exponent <= kMaxAfter;
}

// `text` with every number outside strings as a string that is_number knows: RapidJSON refuses numbers that
// overflow a double even where it is told to keep them as text.
std::string with_marked_numbers(std::string_view text) {
    std::string out;
    out.reserve(text.size() + text.size() / 4);
    bool in_string = false;
    for (std::size_t i = 0; i < text.size();) {
        const char c = text[i];
        std::size_t length = 1;
        if (in_string) {
            length = c == '\\' && i + 1 < text.size() ? 2 : 1;
            in_string = c != '"';
        } else if (c == '"') {
            in_string = true;
        } else if (c == '-' || is_digit(c)) {
            if (const std::size_t number = number_shape(text.substr(i)).length; number > 0) {
                out.append(1, '"').append(1, kNumberMark).append(text.substr(i, number)).append(1, '"');
                i += number;
                continue;
            }
        }
        out.append(text.substr(i, length));
        i += length;
    }
    return out;
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
    bool Key(const char* text, rapidjson::SizeType length, bool copy) {
        return (length == 0 || text[0] != kNumberMark) && to_.Key(text, length, copy);
    }
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

struct ParseFault {
    rapidjson::ParseResult result;
    bool too_deep = false;
};

ParseFault read_document(std::string_view text, rapidjson::Document& out) {
    ParseFault fault;
    auto read = [&](rapidjson::Document& document) {
        constexpr unsigned flags = rapidjson::kParseIterativeFlag | rapidjson::kParseNumbersAsStringsFlag;
        rapidjson::MemoryStream stream(text.data(), text.size());
        rapidjson::Reader reader;
        MarkNumbers handler(document);
        fault.result = reader.Parse<flags>(stream, handler);
        fault.too_deep = handler.too_deep();
        return !fault.result.IsError();
    };
    out.Populate(read);
    return fault;
}

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
        if (fits_numeric(text)) {
            writer.RawValue(text.data(), text.size(), rapidjson::kNumberType);
        } else {
            writer.String(text.data(), static_cast<rapidjson::SizeType>(text.size()));
        }
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
        } else if (const std::size_t length = utf8_character_length(raw.substr(i)); length > 0) {
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
    ParseFault fault = read_document(text, out);
    if (fault.result.Code() == rapidjson::kParseErrorNumberTooBig) {
        fault = read_document(with_marked_numbers(text), out);
    }
    if (!fault.result.IsError()) {
        return true;
    }
    out.SetNull();
    error = fault.too_deep ? "nested deeper than " + std::to_string(kMaxJsonDepth) + " levels"
                           : std::string(rapidjson::GetParseError_En(fault.result.Code()));
    if (error.ends_with('.')) {
        error.pop_back();
    }
    error += " at byte " + std::to_string(fault.result.Offset());
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

std::string json_text(std::string_view text) {
    std::string out;
    append_json_text(out, text);
    return out;
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

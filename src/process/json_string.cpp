#include "process/json_string.hpp"

#include "core/utf8.hpp"

namespace sync_engine {

namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

void append_control(std::string& out, unsigned char c) {
    constexpr std::string_view digits = "0123456789abcdef";
    out += "\\u00";
    out += digits[c >> 4];
    out += digits[c & 15];
}

bool append_ascii(std::string& out, unsigned char c) {
    switch (c) {
        case 0:
            out += kReplacement;
            return false;
        case '"':
            out += "\\\"";
            return true;
        case '\\':
            out += "\\\\";
            return true;
        case '\n':
            out += "\\n";
            return true;
        case '\t':
            out += "\\t";
            return true;
        default:
            if (c < 0x20 || c == 0x7f) {
                append_control(out, c);
            } else {
                out += static_cast<char>(c);
            }
            return true;
    }
}

}  // namespace

std::size_t append_json_string(std::string& out, std::string_view text) {
    std::size_t replaced = 0;
    out.reserve(out.size() + text.size() + 2);
    out += '"';
    for (std::size_t i = 0; i < text.size();) {
        const std::size_t length = utf8_character_length(text.substr(i));
        if (length == 1) {
            replaced += append_ascii(out, static_cast<unsigned char>(text[i])) ? 0 : 1;
        } else if (length == 0) {
            out += kReplacement;
            ++replaced;
        } else {
            out.append(text.substr(i, length));
        }
        i += length == 0 ? 1 : length;
    }
    out += '"';
    return replaced;
}

}  // namespace sync_engine

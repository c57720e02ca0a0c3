#include "notify/display_text.hpp"

#include <algorithm>
#include <array>
#include <cstdint>

#include "core/utf8.hpp"

namespace sync_engine {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";
constexpr std::string_view kEllipsis = "\xE2\x80\xA6";

struct Range {
    std::uint32_t first;
    std::uint32_t last;
};

// Soft hyphen, direction marks and embeddings, zero-width and invisible operators, the byte order mark,
// annotation anchors, tags.
constexpr std::array kInvisible{Range{0xAD, 0xAD},      Range{0x61C, 0x61C},   Range{0x180E, 0x180E},
                                Range{0x200B, 0x200B},  Range{0x200E, 0x200F}, Range{0x202A, 0x202E},
                                Range{0x2060, 0x206F},  Range{0xFEFF, 0xFEFF}, Range{0xFFF9, 0xFFFB},
                                Range{0xE0000, 0xE007F}};

// Of a well-formed character.
std::uint32_t code_point(std::string_view character) {
    const auto first = static_cast<unsigned char>(character.front());
    if (character.size() == 1) {
        return first;
    }
    std::uint32_t value = first & (0xFFU >> (character.size() + 1));
    for (const char c : character.substr(1)) {
        value = value << 6U | (static_cast<unsigned char>(c) & 0x3FU);
    }
    return value;
}

enum class Kind { visible, invisible, blank, line_break };

Kind kind_of(std::uint32_t c) {
    if (c == '\n' || c == '\r' || c == 0x85 || c == 0x2028 || c == 0x2029) {
        return Kind::line_break;
    }
    if (c <= ' ' || (c >= 0x7F && c < 0xA0)) {
        return Kind::blank;
    }
    const bool invisible = std::any_of(kInvisible.begin(), kInvisible.end(),
                                       [c](const Range& r) { return c >= r.first && c <= r.last; });
    return invisible ? Kind::invisible : Kind::visible;
}

// Gathers what is shown; what separates is written only once something follows it.
class Display {
  public:
    Display(std::size_t max_characters, bool keep_breaks)
        : max_characters_(max_characters), keep_breaks_(keep_breaks) {}

    // False once nothing more has room.
    bool add(std::string_view character, Kind kind) {
        if (kind == Kind::line_break && keep_breaks_) {
            ++breaks_;
        } else if (kind != Kind::visible) {
            blank_ = blank_ || kind != Kind::invisible;
        } else {
            return add_visible(character);
        }
        return true;
    }

    std::string take() { return std::move(out_); }

  private:
    bool add_visible(std::string_view character) {
        const std::size_t separators = out_.empty()  ? 0
                                       : breaks_ > 0 ? std::min(breaks_, 2U)
                                       : blank_      ? 1
                                                     : 0;
        if (characters_ + separators + 1 > max_characters_) {
            cut();
            return false;
        }
        last_ = out_.size();
        out_.append(separators, breaks_ > 0 ? '\n' : ' ');
        out_ += character;
        characters_ += separators + 1;
        breaks_ = 0;
        blank_ = false;
        return true;
    }

    // The last character makes room for the ellipsis.
    void cut() {
        out_.resize(last_);
        out_ += kEllipsis;
    }

    std::size_t max_characters_;
    bool keep_breaks_;
    std::string out_;
    std::size_t characters_ = 0;
    std::size_t last_ = 0;  // where the last character and what separates it begin
    unsigned breaks_ = 0;
    bool blank_ = false;
};

std::string display(std::string_view text, std::size_t max_characters, bool keep_breaks) {
    Display out(max_characters, keep_breaks);
    for (std::size_t i = 0; i < text.size();) {
        const std::size_t length = utf8_character_length(text.substr(i));
        const std::string_view character = length == 0 ? kReplacement : text.substr(i, length);
        // Of CR LF the second is not another line.
        const bool pair = character == "\n" && i > 0 && text[i - 1] == '\r';
        if (!pair && !out.add(character, kind_of(code_point(character)))) {
            break;
        }
        i += length == 0 ? 1 : length;
    }
    return out.take();
}

}  // namespace

std::string display_line(std::string_view text, std::size_t max_characters) {
    return display(text, max_characters, false);
}

std::string display_block(std::string_view text, std::size_t max_characters) {
    return display(text, max_characters, true);
}

}  // namespace sync_engine

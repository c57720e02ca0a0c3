#include "notify/mail_header.hpp"

#include <algorithm>
#include <array>
#include <cstdio>

#include "connectors/ascii.hpp"
#include "core/email_address.hpp"
#include "core/utf8.hpp"
#include "notify/base64.hpp"
#include "notify/display_text.hpp"

namespace sync_engine {
namespace {

constexpr std::string_view kWordStart = "=?UTF-8?B?";
constexpr std::string_view kWordEnd = "?=";
constexpr std::string_view kFold = "\r\n ";
constexpr std::size_t kMaxNameCharacters = 100;

bool is_printable_ascii(std::string_view text) {
    return std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

// `text` as encoded words, the first of which begins in `column`. No character is split over two.
std::string encoded_words(std::string_view text, std::size_t column) {
    std::string out;
    while (!text.empty()) {
        const std::size_t digits = kMaxHeaderColumns - column - kWordStart.size() - kWordEnd.size();
        const std::string_view bytes = truncate_utf8(text, digits / 4 * 3);
        text.remove_prefix(bytes.size());
        out += kWordStart;
        out += base64_encode(bytes);
        out += kWordEnd;
        out += text.empty() ? "" : kFold;
        column = 1;
    }
    return out;
}

// `text` broken at its blanks; nothing when a word is too long for a line.
std::optional<std::string> folded(std::string_view text, std::size_t column) {
    std::string out;
    while (!text.empty()) {
        const std::string_view word = text.substr(0, text.find(' '));
        text.remove_prefix(std::min(word.size() + 1, text.size()));
        if ((out.empty() ? column : 1) + word.size() > kMaxHeaderColumns) {
            return std::nullopt;
        }
        if (out.empty()) {
            column += word.size();
        } else if (column + 1 + word.size() > kMaxHeaderColumns) {
            out += kFold;
            column = 1 + word.size();
        } else {
            out += ' ';
            column += 1 + word.size();
        }
        out += word;
    }
    return out;
}

// A display name: words where it has none but ordinary characters, else a quoted string.
std::string phrase(const std::string& name, std::size_t column) {
    if (!is_printable_ascii(name) || name.find("=?") != std::string::npos) {
        return encoded_words(name, column);
    }
    const bool ordinary = std::all_of(name.begin(), name.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == ' ' ||
               c == '-' || c == '_';
    });
    if (ordinary) {
        return folded(name, column).value_or(encoded_words(name, column));
    }
    std::string quoted = "\"";
    for (const char c : name) {
        quoted += c == '"' || c == '\\' ? "\\" : "";
        quoted += c;
    }
    quoted += '"';
    return column + quoted.size() <= kMaxHeaderColumns ? quoted : encoded_words(name, column);
}

std::string unquoted(std::string_view name) {
    if (name.size() < 2 || name.front() != '"' || name.back() != '"') {
        return std::string(name);
    }
    std::string out;
    for (std::size_t i = 1; i + 1 < name.size(); ++i) {
        i += name[i] == '\\' && i + 2 < name.size() ? 1 : 0;
        out += name[i];
    }
    return out;
}

}  // namespace

std::optional<Mailbox> parse_mailbox(std::string_view text) {
    text = trimmed(text);
    Mailbox mailbox;
    if (text.ends_with('>')) {
        const std::size_t open = text.rfind('<');
        if (open == std::string_view::npos) {
            return std::nullopt;
        }
        const std::string name = unquoted(trimmed(text.substr(0, open)));
        mailbox.name = display_line(name, kMaxNameCharacters);
        if (mailbox.name != name) {
            return std::nullopt;
        }
        text.remove_suffix(1);
        text.remove_prefix(open + 1);
    }
    mailbox.address = text;
    return email_fault(text).empty() ? std::optional(std::move(mailbox)) : std::nullopt;
}

std::string text_header(std::string_view name, std::string_view text, std::size_t max_characters) {
    const std::string clean = display_line(text, max_characters);
    std::string line(name);
    line += ": ";
    if (is_printable_ascii(clean) && clean.find("=?") == std::string::npos) {
        if (const auto plain = folded(clean, line.size())) {
            return line + *plain;
        }
    }
    return line + encoded_words(clean, line.size());
}

std::string mailbox_header(std::string_view name, const Mailbox& mailbox) {
    std::string line(name);
    line += ": ";
    if (mailbox.name.empty()) {
        return line + mailbox.address;
    }
    line += phrase(mailbox.name, line.size());
    const std::size_t fold = line.rfind(kFold);
    const std::size_t column = fold == std::string::npos ? line.size() : line.size() - fold - 2;
    line += column + mailbox.address.size() + 3 > kMaxHeaderColumns ? kFold : " ";
    return line + "<" + mailbox.address + ">";
}

std::string mail_date(TimestampUs time) {
    constexpr std::array<const char*, 7> kDays{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    constexpr std::array<const char*, 12> kMonths{"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                  "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    const std::int64_t seconds = clamp_finite(time) / kMicrosPerSecond;
    const std::int64_t of_day = (seconds % kSecondsPerDay + kSecondsPerDay) % kSecondsPerDay;
    const std::int64_t days = (seconds - of_day) / kSecondsPerDay;
    const CivilDate date = civil_from_days(days);
    // 2000-01-01, day 0, was a Saturday.
    const auto weekday = static_cast<std::size_t>(((days + 6) % 7 + 7) % 7);
    std::array<char, 64> text{};
    std::snprintf(text.data(), text.size(), "%s, %02d %s %04d %02d:%02d:%02d +0000", kDays[weekday], date.day,
                  kMonths[static_cast<std::size_t>(date.month - 1)], static_cast<int>(date.year),
                  static_cast<int>(of_day / 3600), static_cast<int>(of_day / 60 % 60),
                  static_cast<int>(of_day % 60));
    return text.data();
}

}  // namespace sync_engine

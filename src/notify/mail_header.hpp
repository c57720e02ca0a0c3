// Lines of a mail's header (RFC 5322, RFC 2047) that nothing can be injected into. Each is "Name: value"
// without the line end; where it is folded it holds "\r\n ".
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "core/time.hpp"

namespace sync_engine {

inline constexpr std::size_t kMaxSubjectCharacters = 200;
// Of a line; a word that may not be broken, such as an address, can be longer.
inline constexpr std::size_t kMaxHeaderColumns = 76;

// Whoever the mail comes from, as configured. Never anything but an address that email_fault accepts.
struct Mailbox {
    std::string name;  // may be empty
    std::string address;

    std::string_view domain() const { return std::string_view(address).substr(address.rfind('@') + 1); }
};

// "Name <a@b.example>", the name with or without quotes, or "a@b.example". Nothing for anything else.
std::optional<Mailbox> parse_mailbox(std::string_view text);

// A header of free text, which may hold anything: see display_line. Text that is not plain ASCII, or cannot
// be folded, becomes encoded words.
std::string text_header(std::string_view name, std::string_view text, std::size_t max_characters);

// A header that holds one mailbox.
std::string mailbox_header(std::string_view name, const Mailbox& mailbox);

// "Sun, 01 Mar 2026 12:15:00 +0000". Years 0 to 9999.
std::string mail_date(TimestampUs time);

}  // namespace sync_engine

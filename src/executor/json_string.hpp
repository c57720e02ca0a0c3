#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace sync_engine {

// Appends `text` as a quoted JSON string that PostgreSQL's jsonb accepts: bytes that are not UTF-8 and NUL
// become U+FFFD. Returns how many were replaced.
std::size_t append_json_string(std::string& out, std::string_view text);

// Length in bytes of the well-formed UTF-8 character at the start of `text`; 0 when there is none.
std::size_t utf8_character_length(std::string_view text) noexcept;

// At most `limit` bytes of `text`, cut between characters.
std::string_view truncate_utf8(std::string_view text, std::size_t limit) noexcept;

}  // namespace sync_engine

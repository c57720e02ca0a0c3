// UTF-8, character by character.
#pragma once

#include <cstddef>
#include <string_view>

namespace sync_engine {

// Length in bytes of the well-formed UTF-8 character at the start of `text` (RFC 3629: no overlong forms, no
// surrogates, nothing above U+10FFFF); 0 when there is none.
std::size_t utf8_character_length(std::string_view text) noexcept;

// At most `limit` bytes of `text`, cut between characters.
std::string_view truncate_utf8(std::string_view text, std::size_t limit) noexcept;

}  // namespace sync_engine

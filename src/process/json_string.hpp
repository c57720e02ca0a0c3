#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace sync_engine {

// Appends `text` as a quoted JSON string that PostgreSQL's jsonb accepts: bytes that are not UTF-8 and NUL
// become U+FFFD. Returns how many were replaced.
std::size_t append_json_string(std::string& out, std::string_view text);

}  // namespace sync_engine

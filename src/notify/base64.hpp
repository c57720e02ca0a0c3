// Base64 with the standard alphabet (RFC 4648, section 4).
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace sync_engine {

// With padding.
std::string base64_encode(std::string_view bytes);

// Padding may be missing; nothing for anything else that an encoder would not have written.
std::optional<std::string> base64_decode(std::string_view text);

}  // namespace sync_engine

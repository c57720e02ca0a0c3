#pragma once

#include <cstddef>
#include <string>

#include "notify/mail_content.hpp"

namespace sync_engine {

// Neither body of a mail is longer, in bytes, whatever the payload; rows that have no room are counted.
inline constexpr std::size_t kMaxMailBytes = 200'000;

// Plain text, UTF-8, lines end with \n.
std::string mail_text(const MailContent& content);

}  // namespace sync_engine

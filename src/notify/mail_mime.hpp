#pragma once

#include <string>
#include <string_view>

#include "notify/mail_message.hpp"

namespace sync_engine {

// The mail as it goes over the wire: its headers and a multipart/alternative of both bodies, ASCII
// throughout, each line ended by CRLF and none of its bodies longer than 76 characters.
std::string mime_mail(const MailMessage& mail);

// RFC 2045, 6.7. Line ends are CRLF; any other CR or LF is encoded.
std::string quoted_printable(std::string_view text);

}  // namespace sync_engine

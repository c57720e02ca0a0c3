#pragma once

#include <string>

#include "notify/mail_content.hpp"

namespace sync_engine {

// An HTML document, UTF-8, lines end with \n, at most kMaxMailBytes. Nothing in it is loaded from anywhere,
// and no colours but the status bar's are set for good, so that a dark mail reader stays dark.
std::string mail_html(const MailContent& content);

}  // namespace sync_engine

// The sections of digests and bundles. Internal to mail_content.
#pragma once

#include "notify/mail_values.hpp"

namespace sync_engine {

void read_digest(const Json& data, MailContent& out);
void read_bundle(const Json& data, MailContent& out);

}  // namespace sync_engine

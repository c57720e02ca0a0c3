// What a message to a hook says: its payload as jsonb takes it, which delivery it is, which headers are kept.
// Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "gateway/hook_signature.hpp"

namespace sync_engine {

struct HookMessage {
    std::string payload;  // JSON text that jsonb accepts
    std::optional<std::string>
        delivery_id;      // the same for each attempt at one delivery; none: cannot be told
    std::string headers;  // those that are kept, a JSON object
    std::string
        challenge;  // Slack's question whether the address is ours: to be answered with it, nothing else
    std::string ignored;  // why nothing is to be done about it; empty as a rule: "the sender's test"
    std::string fault;    // why it cannot be taken; empty as a rule
};

// `scheme`: as of verify_hook, which has found the message genuine.
// JSON is kept as it is, but for what jsonb cannot hold, which becomes U+FFFD, and for Slack's verification
// token, which is a secret. A form's field `payload` is taken for the body (GitHub, Slack), another form is
// an object of its fields. Other text is a JSON string, and what is not UTF-8 a string of its base64.
HookMessage read_hook_message(std::string_view scheme, const HeaderList& headers, std::string_view body);

}  // namespace sync_engine

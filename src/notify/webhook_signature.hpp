// The signature of Standard Webhooks 1.0.0, scheme v1: HMAC-SHA256 over "id.timestamp.body".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sync_engine {

struct WebhookSignature {
    std::string value;  // of the header webhook-signature: "v1,<base64>" for each secret, in their order
    std::string fault;  // why there is none; empty when there is. Holds nothing of a secret
};

// `secrets`: base64 of 24 to 64 bytes, with or without "whsec_" before it; newest first. All of them have to
// be usable: a signature that lacks one of them would be refused by receivers without anybody knowing why.
// `id` must not be empty nor hold a dot, since the dot separates it from what follows. `timestamp`: seconds
// since 1970, of this attempt. `body`: the bytes as they are sent.
WebhookSignature webhook_signature(std::string_view id, std::int64_t timestamp, std::string_view body,
                                   const std::vector<std::string>& secrets);

}  // namespace sync_engine

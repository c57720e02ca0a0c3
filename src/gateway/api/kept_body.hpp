#pragma once

// Answers that are kept under an Idempotency-Key may show what is shown once only, a secret or a path. So
// they are kept as AES-256-GCM under a key that the database never has: HMAC-SHA256 of the request's bearer
// token, of which it knows a hash, and the Idempotency-Key.

#include <optional>
#include <string>
#include <string_view>

namespace sync_engine {

// base64 of nonce (12 bytes), ciphertext and tag (16 bytes). Throws std::runtime_error where OpenSSL fails.
std::string seal_body(std::string_view token, std::string_view idempotency_key, std::string_view body);

// What was sealed; nothing where that was under another token or key, or it is no such text.
std::optional<std::string> unseal_body(std::string_view token, std::string_view idempotency_key,
                                       std::string_view sealed);

}  // namespace sync_engine

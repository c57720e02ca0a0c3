#include "gateway/hook_signature.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "gateway/bearer_token.hpp"
#include "notify/webhook_signature.hpp"

namespace sync_engine {

namespace {

// Texts of different lengths differ at once: how long a signature is, everybody knows.
bool same_bytes(std::string_view a, std::string_view b) {
    return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

// Empty when OpenSSL cannot, which equals no signature.
std::string hmac_hex(std::string_view key, std::string_view content) {
    constexpr std::string_view digits = "0123456789abcdef";
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned length = 0;
    const auto* data = reinterpret_cast<const unsigned char*>(content.data());
    if (HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), data, content.size(), digest.data(),
             &length) == nullptr) {
        return {};
    }
    std::string hex;
    for (unsigned i = 0; i < length; ++i) {
        hex += digits[digest[i] >> 4U];
        hex += digits[digest[i] & 15U];
    }
    return hex;
}

std::optional<std::int64_t> seconds_of(std::string_view text) {
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value < 0) {
        return std::nullopt;
    }
    return value;
}

bool is_near(std::int64_t at, std::int64_t now) {
    return at >= now - kHookToleranceSeconds && at <= now + kHookToleranceSeconds;
}

// Looks at every secret, whichever is right.
template <class Matches>
bool any_secret(const std::vector<std::string>& secrets, Matches matches) {
    bool found = false;
    for (const std::string& secret : secrets) {
        // A hook without a secret is open to nobody.
        found = (!secret.empty() && matches(secret)) || found;
    }
    return found;
}

HookVerdict verify_github(const std::vector<std::string>& secrets, const HeaderList& headers,
                          std::string_view body) {
    constexpr std::string_view prefix = "sha256=";
    std::string_view given = header_value(headers, "x-hub-signature-256");
    if (!given.starts_with(prefix)) {
        return HookVerdict::missing;
    }
    given.remove_prefix(prefix.size());
    const auto matches = [&](const std::string& secret) { return same_bytes(hmac_hex(secret, body), given); };
    return any_secret(secrets, matches) ? HookVerdict::genuine : HookVerdict::mismatch;
}

HookVerdict verify_slack(const std::vector<std::string>& secrets, const HeaderList& headers,
                         std::string_view body, std::int64_t now) {
    constexpr std::string_view prefix = "v0=";
    std::string_view given = header_value(headers, "x-slack-signature");
    const std::string_view time = header_value(headers, "x-slack-request-timestamp");
    const auto at = seconds_of(time);
    if (!given.starts_with(prefix) || !at) {
        return HookVerdict::missing;
    }
    given.remove_prefix(prefix.size());
    std::string content = "v0:";
    content.append(time).append(":").append(body);
    const auto matches = [&](const std::string& secret) {
        return same_bytes(hmac_hex(secret, content), given);
    };
    if (!any_secret(secrets, matches)) {
        return HookVerdict::mismatch;
    }
    return is_near(*at, now) ? HookVerdict::genuine : HookVerdict::stale;
}

// Whether one of the signatures, which blanks separate, is that one.
bool lists(std::string_view signatures, std::string_view wanted) {
    bool found = false;
    while (!signatures.empty()) {
        const std::size_t end = std::min(signatures.find(' '), signatures.size());
        found = same_bytes(signatures.substr(0, end), wanted) || found;
        signatures.remove_prefix(std::min(end + 1, signatures.size()));
    }
    return found;
}

HookVerdict verify_standard(const std::vector<std::string>& secrets, const HeaderList& headers,
                            std::string_view body, std::int64_t now) {
    const std::string prefix = standard_header_prefix(headers);
    const std::string_view signatures = header_value(headers, prefix + "signature");
    const std::string_view id = header_value(headers, prefix + "id");
    const auto at = seconds_of(header_value(headers, prefix + "timestamp"));
    if (signatures.empty() || id.empty() || !at) {
        return HookVerdict::missing;
    }
    const auto matches = [&](const std::string& secret) {
        // One that cannot sign does not keep the others from being looked at.
        const std::string signature = webhook_signature(id, *at, body, {secret}).value;
        return !signature.empty() && lists(signatures, signature);
    };
    if (!any_secret(secrets, matches)) {
        return HookVerdict::mismatch;
    }
    return is_near(*at, now) ? HookVerdict::genuine : HookVerdict::stale;
}

std::string_view presented_secret(const HeaderList& headers) {
    for (const std::string_view name : {"x-webhook-secret", "x-gitlab-token", "x-goog-channel-token"}) {
        if (const std::string_view value = header_value(headers, name); !value.empty()) {
            return value;
        }
    }
    return bearer_token(header_value(headers, "authorization"));
}

HookVerdict verify_secret(const std::vector<std::string>& secrets, const HeaderList& headers) {
    const std::string_view given = presented_secret(headers);
    if (given.empty()) {
        return HookVerdict::missing;
    }
    // Digests are compared: they are of one length, so that the time does not tell the secret's.
    constexpr std::string_view key = "sync_engine hook secret";
    const std::string digest = hmac_hex(key, given);
    const auto matches = [&](const std::string& secret) { return same_bytes(hmac_hex(key, secret), digest); };
    return any_secret(secrets, matches) ? HookVerdict::genuine : HookVerdict::mismatch;
}

}  // namespace

std::string standard_header_prefix(const HeaderList& headers) {
    return header_value(headers, "webhook-signature").empty() ? "svix-" : "webhook-";
}

std::string_view header_value(const HeaderList& headers, std::string_view lower_case_name) noexcept {
    const auto found = std::find_if(headers.begin(), headers.end(),
                                    [&](const auto& header) { return header.first == lower_case_name; });
    return found == headers.end() ? std::string_view() : std::string_view(found->second);
}

HookVerdict verify_hook(std::string_view scheme, const std::vector<std::string>& secrets,
                        const HeaderList& headers, std::string_view body, std::int64_t now) {
    if (scheme == "github") {
        return verify_github(secrets, headers, body);
    }
    if (scheme == "slack") {
        return verify_slack(secrets, headers, body, now);
    }
    if (scheme == "standard") {
        return verify_standard(secrets, headers, body, now);
    }
    return scheme == "secret" ? verify_secret(secrets, headers) : HookVerdict::missing;
}

std::string_view verdict_text(HookVerdict verdict) noexcept {
    switch (verdict) {
        case HookVerdict::missing:
            return "the message is not signed";
        case HookVerdict::mismatch:
            return "the signature is not of this message with this hook's secret";
        case HookVerdict::stale:
            return "the message was signed more than five minutes from now";
        case HookVerdict::genuine:
            break;
    }
    return {};
}

}  // namespace sync_engine

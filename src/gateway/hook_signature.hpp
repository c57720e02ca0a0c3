// Whether a message to a hook is from whom it says: the ways in which senders of webhooks prove it. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sync_engine {

using HeaderList = std::vector<std::pair<std::string, std::string>>;  // names in lower case

enum class HookVerdict {
    genuine,
    missing,   // there is no signature or secret where the scheme has it
    mismatch,  // made with none of the hook's secrets, or of something else than what arrived
    stale,     // genuine but for its time, which is more than five minutes from ours
};

// How far a signed time may be from ours: a message that was listened to cannot be played back for ever.
inline constexpr std::int64_t kHookToleranceSeconds = 300;

// `scheme`, and what is compared with each of the secrets, in a time that does not tell how much is right:
//   github    X-Hub-Signature-256, HMAC-SHA256 of the body
//   slack     X-Slack-Signature v0 with X-Slack-Request-Timestamp
//   standard  webhook-id, webhook-timestamp and any v1 of webhook-signature (Standard Webhooks), or the same
//             under Svix's names; a secret is base64, with or without "whsec_"
//   secret    the secret itself: X-Webhook-Secret, X-Gitlab-Token, X-Goog-Channel-Token or a bearer token
// Any other scheme: missing. `now`: seconds since 1970.
HookVerdict verify_hook(std::string_view scheme, const std::vector<std::string>& secrets,
                        const HeaderList& headers, std::string_view body, std::int64_t now);

// Of the scheme standard: what the names of the headers begin with by which a message is verified, "webhook-"
// or "svix-". The same headers under the other name are not signed.
std::string standard_header_prefix(const HeaderList& headers);

// What to tell the sender; empty for genuine.
std::string_view verdict_text(HookVerdict verdict) noexcept;

// The value of the first header of that name; empty when there is none.
std::string_view header_value(const HeaderList& headers, std::string_view lower_case_name) noexcept;

}  // namespace sync_engine

#include "notify/webhook.hpp"

#include <algorithm>
#include <utility>

#include "connectors/excerpt.hpp"
#include "connectors/retry_after.hpp"
#include "core/url.hpp"
#include "notify/webhook_signature.hpp"

namespace sync_engine {
namespace {

constexpr long kTimeoutMs = 20'000;
constexpr long kConnectTimeoutMs = 5'000;

// The codes of HttpResponse that sync.complete_deliveries knows too.
std::string_view known_error_code(std::string_view code) {
    for (const std::string_view known : {"timeout", "connect", "blocked_address", "tls"}) {
        if (code == known) {
            return known;
        }
    }
    return "other";
}

std::string reply_excerpt(const std::string& body) {
    // Of what was cut off, the last word goes: the rest of a secret would not be recognised as one.
    return std::string(excerpt_of(body, kReplyBytes - (body.size() >= kReplyBytes ? 1 : 0)));
}

}  // namespace

std::variant<ApiRequest, DeliveryOutcome> webhook_request(const Delivery& delivery, TimestampUs now) {
    if (!parse_url(delivery.recipient)) {
        return refused_delivery("the webhook's URL is not a plain http or https URL");
    }
    const std::int64_t unix_seconds = now / kMicrosPerSecond + kUnixEpochOffset;
    WebhookSignature signature =
        webhook_signature(delivery.message_id, unix_seconds, delivery.payload, delivery.secrets);
    if (!signature.fault.empty()) {
        return refused_delivery("the webhook cannot be signed: " + signature.fault);
    }
    ApiRequest request;
    request.method = "POST";
    request.url = delivery.recipient;
    request.headers = {{"content-type", "application/json"},
                       {"webhook-id", delivery.message_id},
                       {"webhook-timestamp", std::to_string(unix_seconds)},
                       {"webhook-signature", std::move(signature.value)}};
    request.body = delivery.payload;
    request.timeout_ms = kTimeoutMs;
    request.connect_timeout_ms = kConnectTimeoutMs;
    request.max_body_bytes = kReplyBytes;
    request.beginning_suffices = true;
    request.prepared_at = now;
    return request;
}

DeliveryOutcome webhook_outcome(const HttpResponse& response, TimestampUs now) {
    DeliveryOutcome outcome;
    if (!response.error_code.empty()) {
        outcome.error_code = known_error_code(response.error_code);
        outcome.error = response.error_message;
        return outcome;
    }
    outcome.status = response.status;
    outcome.reply = reply_excerpt(response.body);
    if (response.status >= 200 && response.status < 300) {
        outcome.result = DeliveryResult::delivered;
        return outcome;
    }
    const bool redirect = response.status >= 300 && response.status < 400;
    outcome.error_code = "status";
    outcome.error = "the receiver answered with status " + std::to_string(response.status) +
                    (redirect ? "; redirects are not followed" : "");
    if (response.status == 410) {
        outcome.result = DeliveryResult::gone;
        return outcome;
    }
    outcome.retry_after_seconds = retry_after_seconds(response.headers, now);
    return outcome;
}

}  // namespace sync_engine

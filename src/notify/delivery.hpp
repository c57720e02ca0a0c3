// A message on its way to one recipient, and how that came out.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sync_engine {

// As sync.claim_deliveries hands it out.
struct Delivery {
    std::int64_t delivery_id = 0;
    std::int64_t notification_id = 0;
    std::string tenant_id;
    std::string channel;
    std::string recipient;   // an e-mail address, or a webhook's URL
    std::string message_id;  // the same over all attempts and replays
    int attempt = 0;         // counted from 1
    std::string payload;     // JSON; what a webhook gets, byte for byte
    std::vector<std::string> secrets;
    std::string unsubscribe;  // e-mail: a token, or empty
};

enum class DeliveryResult {
    delivered,
    failed,   // the database tries again, by its schedule
    refused,  // will never succeed
    gone,     // the receiver wants no more of them
};

// The name that sync.complete_deliveries takes.
constexpr std::string_view delivery_result_name(DeliveryResult result) {
    switch (result) {
        case DeliveryResult::delivered:
            return "delivered";
        case DeliveryResult::failed:
            return "failed";
        case DeliveryResult::refused:
            return "refused";
        case DeliveryResult::gone:
            return "gone";
    }
    return "failed";
}

// `error` is our own text: it names neither recipient nor URL and quotes nobody, so it may be logged. `reply`
// is what the other side said, which may quote anything.
struct DeliveryOutcome {
    DeliveryResult result = DeliveryResult::failed;
    long status = 0;  // of HTTP or SMTP; 0: no reply
    std::string error_code;
    std::string error;
    std::optional<double> retry_after_seconds;
    std::string reply;
};

inline DeliveryOutcome refused_delivery(std::string error) {
    return {DeliveryResult::refused, 0, "config", std::move(error), std::nullopt, ""};
}

// How much of a reply is kept, in bytes.
inline constexpr std::size_t kReplyBytes = 1024;

}  // namespace sync_engine

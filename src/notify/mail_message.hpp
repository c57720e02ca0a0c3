// A mail for one recipient, ready to be sent.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/time.hpp"
#include "notify/delivery.hpp"
#include "notify/mail_header.hpp"

namespace sync_engine {

// The operator's choices.
struct MailSettings {
    Mailbox from;
    // An https URL in which {token} stands for the delivery's token; empty: unsubscribing is by mail to
    // `from`.
    std::string unsubscribe_url;
};

// Why the URL cannot be used; empty when it can.
std::string_view unsubscribe_url_fault(std::string_view url);

struct MailMessage {
    std::string sender;                // of the envelope: a plain address
    std::string recipient;             // the same
    std::vector<std::string> headers;  // lines as in mail_header.hpp; MIME's own are not among them
    std::string text;                  // UTF-8, lines end with CRLF
    std::string html;                  // the same
};

// The mail, or why it can never be sent. `now` is what its Date says.
std::variant<MailMessage, DeliveryOutcome> mail_message(const Delivery& delivery,
                                                        const MailSettings& settings, TimestampUs now);

}  // namespace sync_engine

// How handing a mail to an SMTP server came out, and what that means for its delivery.
#pragma once

#include <string>

#include "notify/delivery.hpp"

namespace sync_engine {

// How far the conversation got; each but `message` depends on the operator's configuration alone.
enum class SmtpStage {
    greeting,        // connecting, the server's greeting, EHLO, STARTTLS
    authentication,  // AUTH
    sender,          // MAIL
    message,         // RCPT, DATA and the message itself
};

struct SmtpReply {
    bool accepted = false;
    SmtpStage stage = SmtpStage::greeting;  // where it ended, if it was not accepted
    long code = 0;                          // of the server's last reply; 0: none came
    std::string text;                       // that reply's last line; may quote the recipient
    std::string error_code;  // where it was not a reply that ended it: timeout, connect, tls, other
    std::string error;       // our own words, when not accepted
};

// Refused only where the server refuses this message for good (5xx to RCPT or DATA). 5xx before that, or a
// demand for authentication (530, 534, 535, 538), is for the operator to put right: failed, with code config.
DeliveryOutcome smtp_outcome(const SmtpReply& reply);

}  // namespace sync_engine

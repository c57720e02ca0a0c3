#include "notify/smtp_reply.hpp"

#include <algorithm>
#include <array>

#include "connectors/excerpt.hpp"

namespace sync_engine {
namespace {

constexpr long kTooLarge = 552;  // to MAIL with SIZE: about the message, not about its sender

std::string_view command_of(SmtpStage stage) {
    switch (stage) {
        case SmtpStage::greeting:
            return "the connection";
        case SmtpStage::authentication:
            return "the authentication";
        case SmtpStage::sender:
            return "the sender";
        case SmtpStage::message:
            return "the message";
    }
    return "the message";
}

}  // namespace

DeliveryOutcome smtp_outcome(const SmtpReply& reply) {
    constexpr std::array<long, 4> kWantsAuthentication{530, 534, 535, 538};
    DeliveryOutcome outcome;
    outcome.reply = std::string(excerpt_of(reply.text, kReplyBytes));
    if (reply.accepted) {
        outcome.result = DeliveryResult::delivered;
        outcome.status = reply.code;
        return outcome;
    }
    if (!reply.error_code.empty()) {
        outcome.error_code = reply.error_code;
        outcome.error = reply.error;
        return outcome;
    }
    outcome.status = reply.code;
    const bool permanent = reply.code >= 500 && reply.code < 600;
    const bool wants_authentication = std::find(kWantsAuthentication.begin(), kWantsAuthentication.end(),
                                                reply.code) != kWantsAuthentication.end();
    const bool about_message =
        reply.stage == SmtpStage::message || (reply.stage == SmtpStage::sender && reply.code == kTooLarge);
    const bool misconfigured =
        wants_authentication || reply.stage == SmtpStage::authentication || (permanent && !about_message);
    outcome.result = permanent && !misconfigured ? DeliveryResult::refused : DeliveryResult::failed;
    outcome.error_code = misconfigured ? "config" : "smtp";
    outcome.error = "the mail server refused " + std::string(command_of(reply.stage)) +
                    (reply.code == 0 ? "" : " with code " + std::to_string(reply.code)) +
                    (misconfigured ? "; see --smtp-url, --smtp-user and --mail-from" : "");
    return outcome;
}

}  // namespace sync_engine

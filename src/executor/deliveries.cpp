#include "executor/deliveries.hpp"

#include <chrono>
#include <utility>
#include <variant>

#include "notify/webhook.hpp"
#include "process/wall_clock.hpp"

namespace sync_engine {

Deliveries::Deliveries(const Tools& tools, Finished finished)
    : tools_(tools), finished_(std::move(finished)) {}

void Deliveries::send(ClaimedDelivery claimed) {
    const std::int64_t id = claimed.delivery.delivery_id;
    if (const auto found = held_.find(id); found != held_.end()) {
        abort(found->second);  // it was lost to us, and now it is ours again: only the new token counts
        held_.erase(found);
    }
    Held& held = held_[id];
    held.claimed = std::move(claimed);
    held.started = Clock::now();
    ++sending_;
    tools_.stops.reach("delivery_sending");
    try {
        if (held.claimed.delivery.channel == "webhook") {
            send_webhook(held);
        } else if (held.claimed.delivery.channel == "email") {
            send_mail(held);
        } else {
            fail_soon(held, {DeliveryResult::failed, 0, "config", "this executor does not know the channel",
                             std::nullopt, ""});
        }
    } catch (const std::exception& error) {
        fail_soon(held, {DeliveryResult::failed, 0, "other", error.what(), std::nullopt, ""});
    }
}

void Deliveries::send_webhook(Held& held) {
    auto request = webhook_request(held.claimed.delivery, wall_clock_now());
    if (auto* refused = std::get_if<DeliveryOutcome>(&request)) {
        fail_soon(held, std::move(*refused));
        return;
    }
    held.transfer = tools_.webhooks.start(std::get<ApiRequest>(request),
                                          [this, id = held.claimed.delivery.delivery_id,
                                           token = held.claimed.claim_token](const HttpResponse& response) {
                                              finish(id, token, webhook_outcome(response, wall_clock_now()));
                                          });
}

void Deliveries::send_mail(Held& held) {
    auto mail = mail_message(held.claimed.delivery, tools_.mail_settings, wall_clock_now());
    if (auto* refused = std::get_if<DeliveryOutcome>(&mail)) {
        fail_soon(held, std::move(*refused));
        return;
    }
    held.by_mail = true;
    held.transfer =
        tools_.mails.start(std::get<MailMessage>(mail),
                           [this, id = held.claimed.delivery.delivery_id, token = held.claimed.claim_token](
                               const SmtpReply& reply) { finish(id, token, smtp_outcome(reply)); });
}

void Deliveries::fail_soon(const Held& held, DeliveryOutcome outcome) {
    tools_.loop.after(0, [this, id = held.claimed.delivery.delivery_id, token = held.claimed.claim_token,
                          outcome = std::move(outcome)] { finish(id, token, outcome); });
}

void Deliveries::finish(std::int64_t delivery_id, const std::string& claim_token, DeliveryOutcome outcome) {
    tools_.stops.reach("delivery_sent");
    const auto found = held_.find(delivery_id);
    if (found == held_.end() || found->second.finished || found->second.claimed.claim_token != claim_token) {
        return;
    }
    Held& held = found->second;
    held.finished = true;
    held.transfer = 0;
    --sending_;
    scrub(held.claimed.delivery, outcome);
    const double seconds = std::chrono::duration<double>(Clock::now() - held.started).count();
    tools_.metrics.delivery_took(held.claimed.delivery.channel, seconds);
    finished_({delivery_id, claim_token, std::move(outcome), seconds});
}

// Beside what all of this process knows, the delivery's own keys: a receiver's error page may show them.
void Deliveries::scrub(const Delivery& delivery, DeliveryOutcome& outcome) const {
    tools_.redactor.scrub_in_place(outcome.error);
    tools_.redactor.scrub_in_place(outcome.reply);
    if (delivery.secrets.empty() || outcome.reply.empty()) {
        return;
    }
    Redactor own;
    for (const std::string& secret : delivery.secrets) {
        own.add(secret);
    }
    own.scrub_in_place(outcome.reply);
}

void Deliveries::abort(const Held& held) {
    if (held.finished) {
        return;
    }
    --sending_;
    if (held.by_mail) {
        tools_.mails.cancel(held.transfer);
    } else {
        tools_.webhooks.cancel(held.transfer);
    }
}

Deliveries::Released Deliveries::give_up_unfinished() {
    Released released;
    for (auto i = held_.begin(); i != held_.end();) {
        if (i->second.finished) {
            ++i;
            continue;
        }
        abort(i->second);
        tools_.metrics.delivery_ended(i->second.claimed.delivery.channel, "released");
        released.ids.push_back(i->first);
        released.claim_tokens.push_back(std::move(i->second.claimed.claim_token));
        i = held_.erase(i);
    }
    return released;
}

void Deliveries::ended(const FinishedDelivery& finished, std::string_view outcome, std::string_view detail) {
    const auto found = held_.find(finished.delivery_id);
    if (found == held_.end() || found->second.claimed.claim_token != finished.claim_token) {
        return;
    }
    const Delivery& delivery = found->second.claimed.delivery;
    const bool lost = outcome == "stale" || outcome == "rejected";
    const std::string_view result = lost ? outcome : delivery_result_name(finished.outcome.result);
    tools_.metrics.delivery_ended(delivery.channel, result);
    const bool good = !lost && finished.outcome.result == DeliveryResult::delivered;
    tools_.log.log(good ? LogLevel::debug : LogLevel::warn,
                   good ? "notification delivered" : "notification not delivered",
                   {{"delivery_id", delivery.delivery_id},
                    {"message_id", delivery.message_id},
                    {"notification_id", delivery.notification_id},
                    {"tenant_id", delivery.tenant_id},
                    {"channel", delivery.channel},
                    {"attempt", std::int64_t{delivery.attempt}},
                    {"duration_ms", finished.seconds * 1000},
                    {"result", result},
                    {"outcome", outcome},
                    {"status", std::int64_t{finished.outcome.status}},
                    {"error_code", finished.outcome.error_code},
                    {"error", finished.outcome.error},
                    {"detail", detail}});
    held_.erase(found);
}

void Deliveries::forget(std::int64_t delivery_id) {
    held_.erase(delivery_id);
}

}  // namespace sync_engine

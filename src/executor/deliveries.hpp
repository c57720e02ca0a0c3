#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "executor/delivery_results.hpp"
#include "executor/delivery_store.hpp"
#include "executor/event_loop.hpp"
#include "executor/http_client.hpp"
#include "executor/metrics.hpp"
#include "executor/smtp_client.hpp"
#include "executor/test_stops.hpp"
#include "notify/mail_message.hpp"
#include "process/log.hpp"
#include "process/redactor.hpp"

namespace sync_engine {

// The deliveries this process holds, from their claim until the database has taken their result. Sends them:
// webhooks by HTTP, mails by SMTP.
class Deliveries {
  public:
    using Finished = std::function<void(FinishedDelivery&&)>;

    struct Released {
        std::vector<std::int64_t> ids;
        std::vector<std::string> claim_tokens;
    };

    // What it works with; all borrowed.
    struct Tools {
        EventLoop& loop;
        HttpClient& webhooks;
        SmtpClient& mails;
        const MailSettings& mail_settings;
        const Redactor& redactor;
        Logger& log;
        Metrics& metrics;
        TestStops& stops;
    };

    // `finished` is called once for each delivery that comes to a result, never from within send().
    Deliveries(const Tools& tools, Finished finished);

    void send(ClaimedDelivery claimed);

    std::size_t held() const noexcept { return held_.size(); }
    std::size_t sending() const noexcept { return sending_; }

    // Gives up those that have no result; aborts their transfers.
    Released give_up_unfinished();

    // The database's word on a result that was sent: logged, counted, and the delivery is forgotten.
    void ended(const FinishedDelivery& finished, std::string_view outcome, std::string_view detail);

    // Of one that the database will not hear of: it stays claimed until its lease ends.
    void forget(std::int64_t delivery_id);

  private:
    struct Held {
        ClaimedDelivery claimed;
        bool finished = false;
        bool by_mail = false;
        std::uint64_t transfer = 0;
        Clock::time_point started{};
    };

    void send_webhook(Held& held);
    void send_mail(Held& held);
    void fail_soon(const Held& held, DeliveryOutcome outcome);
    void finish(std::int64_t delivery_id, const std::string& claim_token, DeliveryOutcome outcome);
    void scrub(const Delivery& delivery, DeliveryOutcome& outcome) const;
    void abort(const Held& held);

    Tools tools_;
    Finished finished_;
    std::unordered_map<std::int64_t, Held> held_;
    std::size_t sending_ = 0;
};

}  // namespace sync_engine

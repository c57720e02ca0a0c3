#include "executor/deliverer.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

#include "executor/delivery_store.hpp"
#include "executor/store.hpp"

namespace sync_engine {

namespace {

constexpr double kMissingRetrySeconds = 60;
constexpr double kOncePatienceSeconds = 10;
constexpr int kOnceRefusals = 5;
constexpr double kSoonestSeconds = 0.1;
// The same where something is due by the database's word, yet a claim brought nothing.
constexpr double kSoonestAfterNothing = 1;

}  // namespace

Deliverer::Deliverer(EventLoop& loop, Database& database, Logger& log, Metrics& metrics, TestStops& stops,
                     const DelivererSettings& settings)
    : database_(database),
      log_(log),
      metrics_(metrics),
      stops_(stops),
      settings_(settings),
      results_(std::max<std::size_t>(settings.concurrency, 1)),
      timer_(loop),
      deadline_(loop),
      patience_(loop) {
    database_.on_connected([this] {
        patience_.clear();
        wanted_ = true;
        retry_at_ = {};
    });
}

void Deliverer::start(std::string incarnation) {
    incarnation_ = std::move(incarnation);
    if (!settings_.once) {
        phase_ = Phase::running;
        database_.open();
    }
}

void Deliverer::work_off() {
    if (phase_ == Phase::waiting && !incarnation_.empty()) {
        phase_ = Phase::running;
        database_.open();
    }
}

void Deliverer::pump() {
    if (phase_ == Phase::waiting || phase_ == Phase::over) {
        return;
    }
    if (settings_.once && !database_.connected() && !patience_.pending()) {
        be_patient();
    }
    while (database_.idle() && phase_ != Phase::over && give_work()) {
    }
    if (database_.idle() && phase_ != Phase::over) {
        arm_timer();
    }
}

// False when there is nothing to do now.
bool Deliverer::give_work() {
    if (!retry_is_due()) {
        return false;
    }
    if (results_.in_doubt()) {
        send_results();
    } else if (!to_release_.ids.empty()) {
        send_release();
    } else if (results_ripe()) {
        send_results();
    } else if (const std::size_t free = free_slots(); free > 0 && Clock::now() >= claim_time(free)) {
        claim();
    } else if (ask_next_ && phase_ == Phase::running) {
        ask_next();
    } else {
        return false;
    }
    return true;
}

std::size_t Deliverer::free_slots() const {
    const std::size_t held = deliveries_->held();
    return phase_ == Phase::running && held < settings_.concurrency ? settings_.concurrency - held : 0;
}

Clock::time_point Deliverer::claim_time(std::size_t free) const {
    if (plenty_) {
        return 2 * free >= settings_.concurrency ? Clock::time_point() : last_claim_ + kGather;
    }
    if (settings_.once) {
        return wanted_ ? Clock::time_point() : Clock::time_point::max();
    }
    return wanted_ ? std::min(next_claim_, last_claim_ + kWakeGap) : next_claim_;
}

void Deliverer::claim() {
    const std::size_t wanted = free_slots();
    wanted_ = false;
    last_claim_ = Clock::now();
    stops_.reach("delivery_claiming");
    const Statement statement = claim_deliveries_statement(incarnation_, wanted, settings_.email);
    database_.run({statement}, [this, wanted](ScriptOutcome&& outcome) { claimed(outcome, wanted); });
    stops_.reach("delivery_claim_sent");
}

void Deliverer::claimed(const ScriptOutcome& outcome, std::size_t asked) {
    if (outcome.lost()) {
        wanted_ = true;
        return;
    }
    if (!outcome.done()) {
        claim_refused(outcome);
        return;
    }
    retry_delay_.reset();
    refusals_ = 0;
    std::vector<ClaimedDelivery> claimed = parse_claimed_deliveries(outcome.result());
    plenty_ = claimed.size() >= asked;
    nothing_ = claimed.empty();
    ask_next_ = !plenty_ && !settings_.once;
    next_claim_ = Clock::now() + seconds_to_duration(settings_.poll_seconds);
    if (!claimed.empty()) {
        stops_.reach("delivery_claimed");
    }
    if (phase_ != Phase::running) {
        // The order to stop came while the claim was under way.
        Deliveries::Released released;
        for (ClaimedDelivery& one : claimed) {
            metrics_.delivery_ended(one.delivery.channel, "released");
            released.ids.push_back(one.delivery.delivery_id);
            released.claim_tokens.push_back(std::move(one.claim_token));
        }
        release_later(std::move(released));
        return;
    }
    for (ClaimedDelivery& one : claimed) {
        deliveries_->send(std::move(one));
    }
}

void Deliverer::claim_refused(const ScriptOutcome& outcome) {
    if (!lacks_deliveries(outcome.sqlstate)) {
        wanted_ = true;
        failed(outcome, "claiming deliveries");
        return;
    }
    if (!missing_told_) {
        log_.info("the extension is older than notifications: none are delivered",
                  {{"error", outcome.message}});
        missing_told_ = true;
    }
    plenty_ = false;
    ask_next_ = false;
    next_claim_ = Clock::now() + seconds_to_duration(kMissingRetrySeconds);
    retry_at_ = next_claim_;
    if (settings_.once) {
        phase_ = Phase::over;
    }
}

void Deliverer::ask_next() {
    ask_next_ = false;
    const Statement statement = next_delivery_statement(settings_.email);
    database_.run({statement}, [this](ScriptOutcome&& outcome) {
        if (outcome.lost()) {
            return;
        }
        if (!outcome.done()) {
            failed(outcome, "asking for the next delivery");
            return;
        }
        if (const auto seconds = parse_next_delivery(outcome.result())) {
            const double wait = std::max(*seconds, nothing_ ? kSoonestAfterNothing : kSoonestSeconds);
            next_claim_ = std::min(next_claim_, Clock::now() + seconds_to_duration(wait));
        }
    });
}

void Deliverer::failed(const ScriptOutcome& outcome, std::string_view what) {
    log_.error("the database refused",
               {{"what", what}, {"sqlstate", outcome.sqlstate}, {"error", outcome.message}});
    retry_at_ = Clock::now() + seconds_to_duration(retry_delay_.next());
    if (settings_.once && ++refusals_ >= kOnceRefusals) {
        give_up();
    } else if (classify_sqlstate(outcome.sqlstate) == SqlTrouble::read_only) {
        database_.reconnect("the server is a standby");
    }
}

void Deliverer::arm_timer() {
    auto when = Clock::time_point::max();
    if (!results_.empty()) {
        when = first_result_ + kLinger;
    }
    if (const std::size_t free = free_slots(); free > 0) {
        when = std::min(when, claim_time(free));
    }
    when = std::max(when, retry_at_);
    if (when == Clock::time_point::max()) {
        timer_.clear();
    } else {
        timer_.set_at(when, [] {});
    }
}

void Deliverer::release_later(Deliveries::Released released) {
    std::move(released.ids.begin(), released.ids.end(), std::back_inserter(to_release_.ids));
    std::move(released.claim_tokens.begin(), released.claim_tokens.end(),
              std::back_inserter(to_release_.claim_tokens));
}

void Deliverer::send_release() {
    const std::size_t count = to_release_.ids.size();
    const Statement statement =
        release_deliveries_statement(incarnation_, to_release_.ids, to_release_.claim_tokens);
    database_.run({statement}, [this, count](ScriptOutcome&& outcome) {
        if (outcome.lost()) {
            return;  // releasing twice does no harm
        }
        if (!outcome.done()) {
            failed(outcome, "releasing deliveries");
            return;
        }
        const auto sent = static_cast<std::ptrdiff_t>(count);
        to_release_.ids.erase(to_release_.ids.begin(), to_release_.ids.begin() + sent);
        to_release_.claim_tokens.erase(to_release_.claim_tokens.begin(),
                                       to_release_.claim_tokens.begin() + sent);
        log_.info("released deliveries", {{"deliveries", static_cast<std::int64_t>(count)}});
    });
}

void Deliverer::drain() {
    if (phase_ == Phase::waiting) {
        phase_ = Phase::over;
    }
    if (phase_ != Phase::running) {
        return;
    }
    phase_ = Phase::draining;
    deadline_.set_after(settings_.drain_seconds,
                        [this] { release_later(deliveries_->give_up_unfinished()); });
}

bool Deliverer::done() const {
    if (phase_ == Phase::waiting || phase_ == Phase::over) {
        return true;
    }
    const bool asking = database_.connected() && !database_.idle();
    const bool left = deliveries_->held() > 0 || !results_.empty() || !to_release_.ids.empty() || asking;
    return !left && (phase_ == Phase::draining ||
                     (settings_.once && last_claim_ != Clock::time_point() && !plenty_ && !wanted_));
}

// A run that somebody waits for does not wait for a database for ever.
void Deliverer::be_patient() {
    patience_.set_after(kOncePatienceSeconds, [this] {
        log_.error("no connection to the database, giving up", {{"error", database_.last_error()}});
        give_up();
    });
}

void Deliverer::give_up() {
    gave_up_ = true;
    phase_ = Phase::over;
    release_later(deliveries_->give_up_unfinished());
}

}  // namespace sync_engine

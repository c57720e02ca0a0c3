// How the deliverer tells the database of results.
#include <memory>
#include <unordered_map>
#include <utility>

#include "executor/deliverer.hpp"
#include "executor/store.hpp"

namespace sync_engine {

void Deliverer::finished(FinishedDelivery&& finished) {
    if (results_.empty()) {
        first_result_ = Clock::now();
    }
    results_.push(std::move(finished));
}

bool Deliverer::results_ripe() const {
    return !results_.empty() && (results_.full() || deliveries_->sending() == 0 ||
                                 phase_ == Phase::draining || Clock::now() >= first_result_ + kLinger);
}

void Deliverer::send_results() {
    const auto batch = std::make_shared<DeliveryBatch>(results_.pop());
    first_result_ = Clock::now();
    stops_.reach("deliveries_completing");
    const Statement statement = complete_deliveries_statement(delivery_results_json(*batch));
    database_.run({statement}, [this, batch](ScriptOutcome&& outcome) { results_answered(*batch, outcome); });
    stops_.reach("deliveries_complete_sent");
}

void Deliverer::results_answered(DeliveryBatch& batch, const ScriptOutcome& outcome) {
    if (outcome.lost()) {
        log_.warn("results of deliveries are in doubt, they are sent again",
                  {{"deliveries", static_cast<std::int64_t>(batch.size())}});
        results_.push_again(std::move(batch));
        return;
    }
    if (!outcome.done()) {
        results_refused(batch, outcome);
        return;
    }
    stops_.reach("deliveries_completed");
    retry_delay_.reset();
    refusals_ = 0;
    std::unordered_map<std::int64_t, DeliveryAnswer> answers;
    for (DeliveryAnswer& answer : parse_delivery_answers(outcome.result())) {
        answers.insert_or_assign(answer.delivery_id, std::move(answer));
    }
    wanted_ = wanted_ || settings_.once;  // what came of them may have made more
    for (const FinishedDelivery& finished : batch) {
        const auto found = answers.find(finished.delivery_id);
        if (found == answers.end()) {
            deliveries_->ended(finished, "stale", "the database does not know it");
        } else {
            deliveries_->ended(finished, found->second.outcome, found->second.detail);
        }
        // It may be due again sooner than anything that was known.
        ask_next_ = ask_next_ || (finished.outcome.result == DeliveryResult::failed && !settings_.once);
    }
}

void Deliverer::results_refused(DeliveryBatch& batch, const ScriptOutcome& outcome) {
    const bool several = batch.size() > 1;
    const bool too_slow = outcome.sqlstate == "57014";
    if (classify_sqlstate(outcome.sqlstate) != SqlTrouble::bad_data && !(too_slow && several)) {
        results_.push_again(std::move(batch));
        failed(outcome, "results of deliveries");
        return;
    }
    if (several) {
        // One element must not hold up the others: halve until it stands alone.
        results_.push_halves(std::move(batch));
        return;
    }
    FinishedDelivery& finished = batch.front();
    log_.error(
        "the database refused a delivery's result",
        {{"delivery_id", finished.delivery_id}, {"sqlstate", outcome.sqlstate}, {"error", outcome.message}});
    if (is_replacement(finished)) {
        deliveries_->forget(finished.delivery_id);
        return;
    }
    finished = replacement_for(finished);
    results_.push_again(std::move(batch));
}

}  // namespace sync_engine

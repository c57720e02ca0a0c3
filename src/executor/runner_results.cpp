// How the runner tells the database of results.
#include <unordered_map>
#include <utility>

#include "executor/json_string.hpp"
#include "executor/runner.hpp"

namespace sync_engine {

namespace {

constexpr std::string_view kRefusedMessage = "the database cannot store what the connector returned";

// What takes the place of a result that the server refuses.
Failure refused_result(const std::string& reason) {
    std::string error = R"({"code":"bad_result","message":)";
    append_json_string(error, kRefusedMessage);
    error += R"(,"reason":)";
    append_json_string(error, truncate_utf8(reason, 500));
    error += '}';
    return {FailureKind::permanent, std::move(error), std::nullopt};
}

}  // namespace

void Runner::finished(FinishedJob&& job) {
    if (results_.empty()) {
        first_result_ = Clock::now();
    }
    results_.push(std::move(job));
}

bool Runner::results_ripe() const {
    if (results_.empty()) {
        return false;
    }
    const bool nothing_to_wait_for = jobs_->running() == 0 && jobs_->waiting() == 0;
    return results_.full() || nothing_to_wait_for || phase_ == Phase::draining ||
           Clock::now() >= first_result_ + kLinger;
}

void Runner::send_results() {
    sending_ = results_.pop();
    first_result_ = Clock::now();
    stops_.reach("completing");
    metrics_.batch_sent(sending_.jobs.size());
    database_.run(result_script(sending_), [this](ScriptOutcome&& outcome) { results_answered(outcome); });
    stops_.reach("complete_sent");
}

void Runner::results_answered(const ScriptOutcome& outcome) {
    using Status = ScriptOutcome::Status;
    if (outcome.status == Status::lost) {
        log_.warn("results are in doubt, they are sent again",
                  {{"jobs", static_cast<std::int64_t>(sending_.jobs.size())}});
        results_.push_again(std::move(sending_));
        return;
    }
    if (outcome.status == Status::failed) {
        results_refused(outcome);
        return;
    }
    stops_.reach("completed");
    retry_delay_.reset();
    claim_wanted_ = true;
    drained_ = false;
    const bool in_parts = outcome.results.size() != 1;
    std::unordered_map<std::int64_t, JobOutcome> answers;
    if (!in_parts) {
        for (JobOutcome& answer : parse_outcomes(outcome.result())) {
            answers.insert_or_assign(answer.job_id, std::move(answer));
        }
    }
    for (const FinishedJob& job : sending_.jobs) {
        const auto found = answers.find(job.job_id);
        if (found != answers.end()) {
            jobs_->ended(job, found->second.outcome, found->second.detail);
        } else {
            jobs_->ended(job, in_parts && outcome.done() ? "completed" : "stale", "");
        }
    }
    sending_ = {};
}

void Runner::results_refused(const ScriptOutcome& outcome) {
    const bool too_slow = outcome.sqlstate == "57014";
    const SqlTrouble trouble = classify_sqlstate(outcome.sqlstate);
    const bool several = sending_.jobs.size() > 1;
    if (trouble != SqlTrouble::bad_data && !(too_slow && several)) {
        results_.push_again(std::move(sending_));
        failed(outcome, "results");
        return;
    }
    if (several) {
        // One job's data must not hold up the others: halve until it stands alone.
        results_.push_halves(std::move(sending_));
        return;
    }
    FinishedJob& job = sending_.jobs.front();
    log_.error("the database refused a result",
               {{"job_id", job.job_id}, {"sqlstate", outcome.sqlstate}, {"error", outcome.message}});
    const auto* failure = std::get_if<Failure>(&job.result);
    if (failure != nullptr && failure->error_json.find(kRefusedMessage) != std::string::npos) {
        jobs_->drop(job.job_id);  // its lease ends it
        return;
    }
    job.result = refused_result(outcome.message);
    results_.push_again(std::move(sending_));
}

}  // namespace sync_engine

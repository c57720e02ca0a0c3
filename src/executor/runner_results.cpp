// How the runner tells the database of results.
#include <algorithm>
#include <memory>
#include <unordered_map>
#include <utility>

#include "core/utf8.hpp"
#include "executor/runner.hpp"
#include "process/json_string.hpp"

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
    if (completing_ > 0) {
        return results_.full();  // else they may gather until the answer comes
    }
    const bool nothing_to_wait_for = jobs_->running() == 0 && jobs_->waiting() == 0;
    return results_.full() || nothing_to_wait_for || phase_ == Phase::draining ||
           Clock::now() >= first_result_ + kLinger;
}

void Runner::send_results(Database& lane) {
    const auto batch = std::make_shared<ResultBatch>(results_.pop());
    first_result_ = Clock::now();
    stops_.reach("completing");
    metrics_.batch_sent(batch->jobs.size());
    ++completing_;
    lane.run(result_script(*batch), [this, &lane, batch](ScriptOutcome&& outcome) {
        --completing_;
        results_answered(lane, *batch, outcome);
    });
    stops_.reach("complete_sent");
}

void Runner::results_answered(Database& lane, ResultBatch& batch, const ScriptOutcome& outcome) {
    using Status = ScriptOutcome::Status;
    if (outcome.status == Status::lost) {
        log_.warn("results are in doubt, they are sent again",
                  {{"jobs", static_cast<std::int64_t>(batch.jobs.size())}});
        results_.push_again(std::move(batch));
        return;
    }
    if (outcome.status == Status::failed) {
        results_refused(lane, batch, outcome);
        return;
    }
    stops_.reach("completed");
    retry_delay_.reset();
    look_again(batch);
    completed_callback_();
    const bool in_parts = outcome.results.size() != 1;
    std::unordered_map<std::int64_t, JobOutcome> answers;
    if (!in_parts) {
        for (JobOutcome& answer : parse_outcomes(outcome.result())) {
            answers.insert_or_assign(answer.job_id, std::move(answer));
        }
    }
    for (const FinishedJob& job : batch.jobs) {
        const auto found = answers.find(job.job_id);
        if (found != answers.end()) {
            jobs_->ended(job, found->second.outcome, found->second.detail);
        } else {
            jobs_->ended(job, outcome.done() ? "completed" : "stale", "");
        }
    }
}

// What ended may have made way for another job of its connection. The next page is waited for; whether there
// is anything else is not known, so that a claim for it may wait for company.
void Runner::look_again(const ResultBatch& batch) {
    drained_ = false;
    const bool has_more = std::any_of(batch.jobs.begin(), batch.jobs.end(), [](const FinishedJob& job) {
        const auto* page = std::get_if<Page>(&job.result);
        return page != nullptr && page->has_more;
    });
    if (has_more || settings_.once) {
        claim_wanted_ = true;
    } else {
        next_claim_ = std::min(next_claim_, Clock::now() + kLinger);
    }
}

void Runner::results_refused(Database& lane, ResultBatch& batch, const ScriptOutcome& outcome) {
    const bool too_slow = outcome.sqlstate == "57014";
    const SqlTrouble trouble = classify_sqlstate(outcome.sqlstate);
    const bool several = batch.jobs.size() > 1;
    if (trouble != SqlTrouble::bad_data && !(too_slow && several)) {
        results_.push_again(std::move(batch));
        failed(lane, outcome, "results");
        return;
    }
    if (several) {
        // One job's data must not hold up the others: halve until it stands alone.
        results_.push_halves(std::move(batch));
        return;
    }
    FinishedJob& job = batch.jobs.front();
    log_.error("the database refused a result",
               {{"job_id", job.job_id}, {"sqlstate", outcome.sqlstate}, {"error", outcome.message}});
    const auto* failure = std::get_if<Failure>(&job.result);
    if (failure != nullptr && failure->error_json.find(kRefusedMessage) != std::string::npos) {
        jobs_->drop(job.job_id);  // its lease ends it
        return;
    }
    job.result = refused_result(outcome.message);
    results_.push_again(std::move(batch));
}

}  // namespace sync_engine

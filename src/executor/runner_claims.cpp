// How the runner claims: how many at a time, and when again.
#include <algorithm>
#include <utility>

#include "executor/runner.hpp"

namespace sync_engine {

namespace {

constexpr double kSoonestPollSeconds = 0.1;
// Jobs are claimed ahead of their slots for so long at most, so that no slot stands empty while the next ones
// are being claimed; a given --prefetch may look ahead for a heartbeat.
constexpr double kAheadSeconds = 0.1;
// So few jobs in a claim mean that they arrive one by one: each is claimed at once. More are left to gather,
// for a claim for each few would take the time of those who enqueue them.
constexpr std::size_t kFew = 4;

}  // namespace

// How many jobs may be claimed beyond the free slots: as many as are expected to start soon, well within
// their lease. Jobs of microseconds are claimed in batches as large as allowed, jobs of minutes not at all.
std::size_t Runner::ahead() const {
    const auto most = settings_.prefetch.value_or(settings_.batch_size);
    if (most == 0 || Clock::now() < prefetch_from_) {
        return 0;
    }
    const double mean = jobs_->mean_run_seconds();
    if (mean <= 0) {
        return settings_.prefetch.value_or(0);
    }
    const double horizon = settings_.prefetch ? settings_.heartbeat_seconds : kAheadSeconds;
    const double expected = horizon * static_cast<double>(jobs_->concurrency()) / mean;
    const std::size_t limit = settings_.prefetch ? most : std::min(most, ahead_limit_);
    return expected < static_cast<double>(limit) ? static_cast<std::size_t>(expected) : limit;
}

std::size_t Runner::free_room() const {
    if (phase_ != Phase::running || claims_held_) {
        return 0;
    }
    const std::size_t room = jobs_->concurrency() + ahead();
    const std::size_t taken = jobs_->running() + jobs_->waiting();
    return std::min(room > taken ? room - taken : 0, settings_.batch_size);
}

std::size_t Runner::claimable() const {
    const auto now = Clock::now();
    if (claiming_ || (!claim_wanted_ && now < next_claim_)) {
        return 0;
    }
    const std::size_t free = free_room();
    // A claim for each slot that falls free would cost a transaction for each job.
    if (jobs_->waiting() > 0) {
        return 2 * free >= std::min(ahead(), settings_.batch_size) ? free : 0;
    }
    const std::size_t enough = std::min(jobs_->concurrency(), settings_.batch_size);
    return (2 * free >= enough && !trickling_) || now >= next_gathered() ? free : 0;
}

double Runner::wake_pause_seconds() const {
    return trickling_ || plenty_ ? std::chrono::duration<double>(kGather).count() : 0;
}

// Asked only once nothing arrives: until then each claim finds out by itself.
bool Runner::asks_next() const {
    return ask_next_ && !asking_ && !claiming_;
}

void Runner::claim(Database& lane) {
    const std::size_t wanted = claimable();
    Statement statement = claim_statement(incarnation_, wanted);
    last_claim_ = Clock::now();
    claim_wanted_ = false;
    claiming_ = true;
    stops_.reach("claiming");
    lane.run({std::move(statement)}, [this, &lane, wanted](ScriptOutcome&& outcome) {
        claiming_ = false;
        claimed(lane, outcome, wanted);
    });
    stops_.reach("claim_sent");
}

void Runner::claim_refused(Database& lane, const ScriptOutcome& outcome) {
    claim_wanted_ = true;
    if (classify_sqlstate(outcome.sqlstate) == SqlTrouble::superseded) {
        log_.error("another executor of this name has taken over; give each its own --name",
                   {{"executor", incarnation_}, {"error", outcome.message}});
        exit(1);
        return;
    }
    failed(lane, outcome, "claiming");
}

void Runner::claimed(Database& lane, const ScriptOutcome& outcome, std::size_t asked) {
    if (outcome.lost()) {
        claim_wanted_ = true;
        return;
    }
    if (!outcome.done()) {
        claim_refused(lane, outcome);
        return;
    }
    retry_delay_.reset();
    std::vector<ClaimedJob> jobs = parse_claim(outcome.result());
    metrics_.claimed(jobs.size(), std::chrono::duration<double>(Clock::now() - last_claim_).count());
    stops_.reach(jobs.empty() ? "claimed_nothing" : "claimed");
    size_next_claim(asked, jobs.size());
    drained_ = jobs.size() < asked;
    plenty_ = !drained_;
    trickling_ = drained_ && jobs.size() > kFew;
    claim_wanted_ = claim_wanted_ || !drained_;
    ask_next_ = drained_ && !settings_.once;
    next_claim_ = Clock::now() + seconds_to_duration(settings_.poll_seconds);
    if (phase_ != Phase::running) {
        // The order to stop came while the claim was under way.
        Jobs::Released released;
        for (ClaimedJob& job : jobs) {
            released.job_ids.push_back(job.job.job_id);
            released.claim_tokens.push_back(std::move(job.claim_token));
        }
        release_later(std::move(released));
        return;
    }
    jobs_->add(std::move(jobs));
}

// While there is more than was asked for, each claim may be twice as large as the one before. Where jobs are
// scarce, nobody takes more than its slots.
void Runner::size_next_claim(std::size_t asked, std::size_t got) {
    const std::size_t slots = jobs_->concurrency();
    ahead_limit_ = got < asked ? 0 : std::min(std::max(slots, 2 * ahead_limit_), settings_.batch_size);
}

void Runner::ask_next_claim(Database& lane) {
    ask_next_ = false;
    asking_ = true;
    lane.run({next_claim_statement()}, [this, &lane](ScriptOutcome&& outcome) {
        asking_ = false;
        if (!outcome.done()) {
            if (!outcome.lost()) {
                failed(lane, outcome, "asking for the next claim");
            }
            return;
        }
        if (const auto seconds = parse_next_claim(outcome.result())) {
            next_claim_ = std::min(
                next_claim_, Clock::now() + seconds_to_duration(std::max(*seconds, kSoonestPollSeconds)));
        }
    });
}

}  // namespace sync_engine

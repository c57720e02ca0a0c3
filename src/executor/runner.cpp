#include "executor/runner.hpp"

#include <algorithm>
#include <utility>

namespace sync_engine {

namespace {

constexpr double kSoonestPollSeconds = 0.1;
constexpr double kReleaseGraceSeconds = 5;
constexpr double kOncePatienceSeconds = 10;
constexpr double kOnceOutageSeconds = 60;

}  // namespace

Runner::Runner(EventLoop& loop, Database& database, Logger& log, Metrics& metrics, TestStops& stops,
               RunnerSettings settings, std::function<void(int)> on_exit)
    : loop_(loop),
      database_(database),
      log_(log),
      metrics_(metrics),
      stops_(stops),
      settings_(std::move(settings)),
      on_exit_(std::move(on_exit)),
      results_(settings_.batch_size),
      timer_(loop),
      deadline_(loop),
      patience_(loop) {
    database_.on_connected([this] { connected(); });
}

void Runner::start(bool claims_held) {
    phase_ = Phase::running;
    claims_held_ = claims_held;
    database_.open();
}

void Runner::connected() {
    patience_.clear();
    next_heartbeat_ = Clock::now();  // after an outage: say at once what is still held
    claim_wanted_ = true;
    retry_at_ = {};
}

void Runner::pump() {
    if (phase_ == Phase::waiting || phase_ == Phase::over) {
        return;
    }
    if (phase_ == Phase::draining && nothing_left()) {
        exit(0);
        return;
    }
    if (settings_.once && !database_.connected() && !patience_.pending()) {
        be_patient();
    }
    if (!database_.idle()) {
        return;
    }
    const auto now = Clock::now();
    if (incarnation_.empty()) {
        if (retry_is_due()) {
            register_executor();
        }
    } else if (results_.in_doubt() && retry_is_due()) {
        send_results();
    } else if (now >= next_heartbeat_) {
        send_heartbeat();
    } else if (!to_release_.job_ids.empty() && retry_is_due()) {
        send_release();
    } else if (results_ripe() && retry_is_due()) {
        send_results();
    } else if (claimable() > 0 && retry_is_due()) {
        claim();
    } else if (ask_next_ && retry_is_due()) {
        ask_next_claim();
    } else if (once_is_done()) {
        log_.info("nothing more is due");
        exit(0);
    }
    if (phase_ != Phase::over && database_.idle()) {
        arm_timer();
    }
}

// A run that somebody waits for does not wait for a database for ever; less so for one that never answered.
void Runner::be_patient() {
    patience_.set_after(incarnation_.empty() ? kOncePatienceSeconds : kOnceOutageSeconds, [this] {
        log_.error("no connection to the database, giving up", {{"error", database_.last_error()}});
        exit(1);
    });
}

// The loop calls pump() after each wait, so the timer only has to end the wait in time.
void Runner::arm_timer() {
    const auto now = Clock::now();
    auto when = next_heartbeat_;
    if (!results_.empty()) {
        when = std::min(when, first_result_ + kLinger);
    }
    if (free_room() > 0) {
        when = std::min(when,
                        std::max(claim_wanted_ ? Clock::time_point() : next_claim_, last_claim_ + kLinger));
    }
    if (now < retry_at_) {
        when = incarnation_.empty() ? retry_at_ : std::min(next_heartbeat_, std::max(when, retry_at_));
    }
    timer_.set_at(when, [] {});
}

void Runner::register_executor() {
    const Statement statement = register_statement(settings_.name, settings_.info_json);
    database_.run(statement.sql, statement.params, [this](ScriptOutcome&& outcome) { registered(outcome); });
}

void Runner::registered(const ScriptOutcome& outcome) {
    if (outcome.lost()) {
        return;
    }
    if (!outcome.done()) {
        if (classify_sqlstate(outcome.sqlstate) == SqlTrouble::superseded) {
            log_.error("the database does not serve this executor",
                       {{"sqlstate", outcome.sqlstate}, {"error", outcome.message}, {"protocol", kProtocol}});
            exit(1);
            return;
        }
        failed(outcome, "registering");
        if (settings_.once) {
            exit(1);
        }
        return;
    }
    const Registration registration = parse_registration(outcome.result());
    incarnation_ = registration.incarnation;
    if (registration.lease_seconds) {
        settings_.heartbeat_seconds = std::min(settings_.heartbeat_seconds, *registration.lease_seconds / 3);
    }
    next_heartbeat_ = Clock::now() + seconds_to_duration(settings_.heartbeat_seconds);
    retry_delay_.reset();
    log_.info("registered", {{"executor", incarnation_}, {"heartbeat_seconds", settings_.heartbeat_seconds}});
    stops_.reach("registered");
}

void Runner::send_heartbeat() {
    const Statement statement = heartbeat_statement(incarnation_, jobs_->held_ids());
    next_heartbeat_ = Clock::now() + seconds_to_duration(settings_.heartbeat_seconds);
    database_.run(statement.sql, statement.params, [this](ScriptOutcome&& outcome) { heard(outcome); });
}

void Runner::heard(const ScriptOutcome& outcome) {
    if (outcome.lost()) {
        return;
    }
    if (!outcome.done()) {
        failed(outcome, "heartbeat");
        next_heartbeat_ = std::min(next_heartbeat_, Clock::now() + std::chrono::seconds(1));
        return;
    }
    for (const std::int64_t job_id : parse_cancelled(outcome.result())) {
        results_.remove(job_id);
        jobs_->drop(job_id);
    }
}

void Runner::send_release() {
    const Statement statement =
        release_statement(incarnation_, to_release_.job_ids, to_release_.claim_tokens);
    const std::size_t count = to_release_.job_ids.size();
    database_.run(statement.sql, statement.params, [this, count](ScriptOutcome&& outcome) {
        if (outcome.lost()) {
            return;  // releasing twice does no harm
        }
        if (!outcome.done()) {
            failed(outcome, "releasing jobs");
            return;
        }
        const auto sent = static_cast<std::ptrdiff_t>(count);
        to_release_.job_ids.erase(to_release_.job_ids.begin(), to_release_.job_ids.begin() + sent);
        to_release_.claim_tokens.erase(to_release_.claim_tokens.begin(),
                                       to_release_.claim_tokens.begin() + sent);
        log_.info("released jobs", {{"jobs", static_cast<std::int64_t>(count)}});
    });
}

// How many jobs may be claimed beyond those held: the free slots, and with --prefetch no more than are
// expected to start within one heartbeat, which is well within the lease.
std::size_t Runner::free_room() const {
    if (phase_ != Phase::running || claims_held_) {
        return 0;
    }
    double ahead = static_cast<double>(settings_.prefetch);
    if (jobs_->mean_run_seconds() > 0) {
        ahead = std::min(ahead, settings_.heartbeat_seconds * static_cast<double>(jobs_->concurrency()) /
                                    jobs_->mean_run_seconds());
    }
    const std::size_t room = jobs_->concurrency() + static_cast<std::size_t>(ahead);
    const std::size_t taken = jobs_->running() + jobs_->waiting();
    return std::min(room > taken ? room - taken : 0, settings_.batch_size);
}

std::size_t Runner::claimable() const {
    const auto now = Clock::now();
    if (!claim_wanted_ && now < next_claim_) {
        return 0;
    }
    const std::size_t free = free_room();
    // A claim for each slot that falls free would cost a transaction for each job.
    const bool worth_it = 2 * free >= std::min(jobs_->concurrency(), settings_.batch_size);
    return worth_it || now >= last_claim_ + kLinger ? free : 0;
}

void Runner::claim() {
    const std::size_t wanted = claimable();
    const Statement statement = claim_statement(incarnation_, wanted);
    last_claim_ = Clock::now();
    claim_wanted_ = false;
    stops_.reach("claiming");
    database_.run(statement.sql, statement.params,
                  [this, wanted](ScriptOutcome&& outcome) { claimed(outcome, wanted); });
    stops_.reach("claim_sent");
}

void Runner::claimed(const ScriptOutcome& outcome, std::size_t asked) {
    if (outcome.lost()) {
        claim_wanted_ = true;
        return;
    }
    if (!outcome.done()) {
        claim_wanted_ = true;
        if (classify_sqlstate(outcome.sqlstate) == SqlTrouble::superseded) {
            log_.error("another executor of this name has taken over; give each its own --name",
                       {{"executor", incarnation_}, {"error", outcome.message}});
            exit(1);
            return;
        }
        failed(outcome, "claiming");
        return;
    }
    retry_delay_.reset();
    std::vector<ClaimedJob> jobs = parse_claim(outcome.result());
    metrics_.claimed(jobs.size(), std::chrono::duration<double>(Clock::now() - last_claim_).count());
    stops_.reach(jobs.empty() ? "claimed_nothing" : "claimed");
    drained_ = jobs.size() < asked;
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

void Runner::ask_next_claim() {
    ask_next_ = false;
    const Statement statement = next_claim_statement();
    database_.run(statement.sql, statement.params, [this](ScriptOutcome&& outcome) {
        if (!outcome.done()) {
            if (!outcome.lost()) {
                failed(outcome, "asking for the next claim");
            }
            return;
        }
        if (const auto seconds = parse_next_claim(outcome.result())) {
            next_claim_ = std::min(
                next_claim_, Clock::now() + seconds_to_duration(std::max(*seconds, kSoonestPollSeconds)));
        }
    });
}

void Runner::failed(const ScriptOutcome& outcome, std::string_view what) {
    log_.error("the database refused",
               {{"what", what}, {"sqlstate", outcome.sqlstate}, {"error", outcome.message}});
    retry_at_ = Clock::now() + seconds_to_duration(retry_delay_.next());
    if (classify_sqlstate(outcome.sqlstate) == SqlTrouble::read_only) {
        database_.reconnect("the server is a standby");
    }
}

void Runner::release_later(Jobs::Released released) {
    const auto append = [](auto& target, auto& more) {
        target.insert(target.end(), std::make_move_iterator(more.begin()),
                      std::make_move_iterator(more.end()));
    };
    for (std::size_t i = 0; i < released.job_ids.size(); ++i) {
        metrics_.job_ended("released");
    }
    append(to_release_.job_ids, released.job_ids);
    append(to_release_.claim_tokens, released.claim_tokens);
}

void Runner::drain() {
    if (phase_ == Phase::waiting) {
        exit(0);
    }
    if (phase_ != Phase::running) {
        return;
    }
    phase_ = Phase::draining;
    patience_.clear();
    log_.info("draining",
              {{"jobs", static_cast<std::int64_t>(jobs_->held())}, {"seconds", settings_.drain_seconds}});
    release_later(jobs_->give_up_waiting());
    deadline_.set_after(settings_.drain_seconds, [this] { drain_deadline(); });
}

void Runner::drain_deadline() {
    release_later(jobs_->give_up_unfinished());
    deadline_.set_after(kReleaseGraceSeconds, [this] {
        log_.error("the database could not be told of all jobs; their leases end them",
                   {{"jobs", static_cast<std::int64_t>(jobs_->held() + to_release_.job_ids.size())}});
        exit(1);
    });
}

bool Runner::nothing_left() const {
    // A claim under way may still bring jobs that have to be handed back.
    const bool in_flight = database_.connected() && !database_.idle() && !incarnation_.empty();
    return jobs_->held() == 0 && results_.empty() && to_release_.job_ids.empty() && !in_flight;
}

bool Runner::once_is_done() const {
    return settings_.once && drained_ && !claim_wanted_ && jobs_->held() == 0 && results_.empty();
}

void Runner::exit(int status) {
    phase_ = Phase::over;
    timer_.clear();
    deadline_.clear();
    patience_.clear();
    on_exit_(status);
}

}  // namespace sync_engine

#include "executor/runner.hpp"

#include <algorithm>
#include <utility>

namespace sync_engine {

namespace {

constexpr double kReleaseGraceSeconds = 5;
constexpr double kOncePatienceSeconds = 10;
constexpr double kOnceOutageSeconds = 60;
constexpr int kPrefetchPauseHeartbeats = 4;

}  // namespace

Runner::Runner(EventLoop& loop, Lanes lanes, Logger& log, Metrics& metrics, TestStops& stops,
               RunnerSettings settings, std::function<void(int)> on_exit)
    : loop_(loop),
      lanes_(std::move(lanes)),
      log_(log),
      metrics_(metrics),
      stops_(stops),
      settings_(std::move(settings)),
      on_exit_(std::move(on_exit)),
      results_(settings_.batch_size),
      timer_(loop),
      deadline_(loop),
      patience_(loop) {
    lanes_.on_connected([this] { connected(); });
}

void Runner::start(bool claims_held) {
    phase_ = Phase::running;
    claims_held_ = claims_held;
    lanes_.open();
}

void Runner::connected() {
    patience_.clear();
    if (jobs_->held() > 0) {
        next_heartbeat_ = Clock::now();  // after an outage: say at once what is still held
    }
    claim_wanted_ = true;
    retry_at_ = {};
}

void Runner::pump() {
    if (phase_ == Phase::waiting || phase_ == Phase::over) {
        return;
    }
    if (phase_ == Phase::draining && nothing_left() && others_done_()) {
        exit(0);
        return;
    }
    if (settings_.once && !lanes_.connected() && !patience_.pending()) {
        be_patient();
    }
    Database* lane = lanes_.idle();
    while (lane != nullptr && phase_ != Phase::over && give_work(*lane)) {
        lane = lanes_.idle();
    }
    if (phase_ == Phase::over || lane == nullptr) {
        return;
    }
    if (once_is_done() && others_done_()) {
        log_.info("nothing more is due");
        exit(0);
        return;
    }
    arm_timer();
}

// False when there is nothing to do on this connection now.
bool Runner::give_work(Database& lane) {
    if (incarnation_.empty()) {
        if (registering_ || !retry_is_due()) {
            return false;
        }
        register_executor(lane);
    } else if (results_.in_doubt() && retry_is_due()) {
        send_results(lane);
    } else if (!heartbeat_sent_ && Clock::now() >= next_heartbeat_) {
        send_heartbeat(lane);
    } else if (!retry_is_due()) {
        return false;
    } else if (!releasing_ && !to_release_.job_ids.empty()) {
        send_release(lane);
    } else if (results_ripe()) {
        send_results(lane);
    } else if (claimable() > 0) {
        claim(lane);
    } else if (asks_next() && Clock::now() >= last_claim_ + kAskAfter) {
        ask_next_claim(lane);
    } else {
        return false;
    }
    return true;
}

// A run that somebody waits for does not wait for a database for ever; less so for one that never answered.
void Runner::be_patient() {
    patience_.set_after(incarnation_.empty() ? kOncePatienceSeconds : kOnceOutageSeconds, [this] {
        log_.error("no connection to the database, giving up", {{"error", lanes_.last_error()}});
        exit(1);
    });
}

// The loop calls pump() after each wait, so the timer only has to end the wait in time. What is under way
// ends it by itself.
void Runner::arm_timer() {
    const auto now = Clock::now();
    auto when = heartbeat_sent_ ? Clock::time_point::max() : next_heartbeat_;
    if (!results_.empty() && completing_ == 0) {
        when = std::min(when, first_result_ + kLinger);
    }
    if (!claiming_ && jobs_->waiting() == 0 && free_room() > 0) {
        when = std::min(when, std::max(claim_wanted_ ? Clock::time_point() : next_claim_, next_gathered()));
    }
    if (asks_next()) {
        when = std::min(when, last_claim_ + kAskAfter);
    }
    if (now < retry_at_) {
        when = incarnation_.empty() ? retry_at_ : std::min(next_heartbeat_, std::max(when, retry_at_));
    }
    timer_.set_at(when, [] {});
}

void Runner::register_executor(Database& lane) {
    Statement statement = register_statement(settings_.name, settings_.info_json);
    registering_ = true;
    lane.run({std::move(statement)}, [this, &lane](ScriptOutcome&& outcome) {
        registering_ = false;
        registered(lane, outcome);
    });
}

void Runner::registered(Database& lane, const ScriptOutcome& outcome) {
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
        failed(lane, outcome, "registering");
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
    registered_callback_(incarnation_);
}

void Runner::send_heartbeat(Database& lane) {
    hand_back_stale();
    const auto sent = Clock::now();
    next_heartbeat_ = sent + seconds_to_duration(settings_.heartbeat_seconds);
    heartbeat_sent_ = true;
    lane.run({heartbeat_statement(incarnation_, jobs_->held_ids())},
             [this, &lane, sent](ScriptOutcome&& outcome) {
                 heartbeat_sent_ = false;
                 heard(lane, outcome, sent);
             });
}

void Runner::heard(Database& lane, const ScriptOutcome& outcome, Clock::time_point sent) {
    if (outcome.lost()) {
        return;
    }
    if (!outcome.done()) {
        failed(lane, outcome, "heartbeat");
        next_heartbeat_ = std::min(next_heartbeat_, Clock::now() + std::chrono::seconds(1));
        return;
    }
    for (const std::int64_t job_id : parse_cancelled(outcome.result())) {
        // Another connection may have ended it meanwhile, or claimed it anew: then the answer is out of date.
        // Of one whose result is under way, the answer to that says what became of it.
        if (jobs_->held_since(job_id, sent) && (results_.remove(job_id) || !jobs_->is_finished(job_id))) {
            jobs_->drop(job_id);
        }
    }
}

// What was claimed ahead and found no slot within a heartbeat is handed back: others may have one.
void Runner::hand_back_stale() {
    const auto heartbeat = seconds_to_duration(settings_.heartbeat_seconds);
    Jobs::Released stale = jobs_->give_up_waiting(Clock::now() - heartbeat);
    if (!stale.job_ids.empty()) {
        prefetch_from_ = Clock::now() + kPrefetchPauseHeartbeats * heartbeat;
        release_later(std::move(stale));
    }
}

void Runner::send_release(Database& lane) {
    Statement statement = release_statement(incarnation_, to_release_.job_ids, to_release_.claim_tokens);
    const std::size_t count = to_release_.job_ids.size();
    releasing_ = true;
    lane.run({std::move(statement)}, [this, &lane, count](ScriptOutcome&& outcome) {
        releasing_ = false;
        if (outcome.lost()) {
            return;  // releasing twice does no harm
        }
        if (!outcome.done()) {
            failed(lane, outcome, "releasing jobs");
            return;
        }
        const auto sent = static_cast<std::ptrdiff_t>(count);
        to_release_.job_ids.erase(to_release_.job_ids.begin(), to_release_.job_ids.begin() + sent);
        to_release_.claim_tokens.erase(to_release_.claim_tokens.begin(),
                                       to_release_.claim_tokens.begin() + sent);
        drained_ = false;
        claim_wanted_ = true;
        log_.info("released jobs", {{"jobs", static_cast<std::int64_t>(count)}});
    });
}

void Runner::failed(Database& lane, const ScriptOutcome& outcome, std::string_view what) {
    log_.error("the database refused",
               {{"what", what}, {"sqlstate", outcome.sqlstate}, {"error", outcome.message}});
    retry_at_ = Clock::now() + seconds_to_duration(retry_delay_.next());
    if (classify_sqlstate(outcome.sqlstate) == SqlTrouble::read_only) {
        lane.reconnect("the server is a standby");
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
    release_later(jobs_->give_up_waiting(Clock::time_point::max()));
    deadline_.set_after(settings_.drain_seconds, [this] { drain_deadline(); });
}

void Runner::drain_deadline() {
    release_later(jobs_->give_up_unfinished());
    deadline_.set_after(kReleaseGraceSeconds, [this] {
        const auto jobs = static_cast<std::int64_t>(jobs_->held() + to_release_.job_ids.size());
        log_.error(jobs > 0 ? "the database could not be told of all jobs; their leases end them"
                            : "the database could not be told of all deliveries; their leases end them",
                   {{"jobs", jobs}});
        exit(1);
    });
}

bool Runner::nothing_left() const {
    // A claim under way may still bring jobs that have to be handed back.
    const bool in_flight = lanes_.busy() && !incarnation_.empty();
    return jobs_->held() == 0 && results_.empty() && to_release_.job_ids.empty() && !in_flight;
}

bool Runner::once_is_done() const {
    return settings_.once && drained_ && !claim_wanted_ && !claiming_ && jobs_->held() == 0 &&
           results_.empty() && to_release_.job_ids.empty();
}

void Runner::exit(int status) {
    phase_ = Phase::over;
    timer_.clear();
    deadline_.clear();
    patience_.clear();
    on_exit_(status);
}

}  // namespace sync_engine

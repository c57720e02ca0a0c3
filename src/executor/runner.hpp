#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include "executor/database.hpp"
#include "executor/jobs.hpp"
#include "executor/lanes.hpp"
#include "executor/metrics.hpp"
#include "executor/results.hpp"
#include "executor/store.hpp"
#include "executor/test_stops.hpp"
#include "process/log.hpp"
#include "process/retry_delay.hpp"

namespace sync_engine {

struct RunnerSettings {
    std::string name;
    std::string info_json;
    std::size_t batch_size = 1000;
    std::optional<std::size_t> prefetch;  // none: as many as jobs are short
    bool once = false;
    double poll_seconds = 5;
    double heartbeat_seconds = 15;
    double drain_seconds = 30;
};

// Tells the database and asks it, whatever is most urgent first: register, what is in doubt, heartbeat,
// releases, results, claims, when to look again. Each connection that has nothing to do takes the next of
// these, so that a claim and completions go on at once; everything else happens while they wait, so the
// busier they are, the larger their batches become.
class Runner {
  public:
    // `on_exit` is called once, with the process's exit status.
    Runner(EventLoop& loop, Lanes lanes, Logger& log, Metrics& metrics, TestStops& stops,
           RunnerSettings settings, std::function<void(int)> on_exit);

    // Called once, with the incarnation, when the database knows this executor.
    void on_registered(std::function<void(const std::string&)> callback) {
        registered_callback_ = std::move(callback);
    }

    // Called after each batch of results that the database took.
    void on_completed(std::function<void()> callback) { completed_callback_ = std::move(callback); }

    // Asked before a process that has nothing left to do exits; until it says yes, heartbeats go on.
    void exit_when(std::function<bool()> others_done) { others_done_ = std::move(others_done); }

    // Must be called before start(); `jobs` is borrowed.
    void attach(Jobs& jobs) { jobs_ = &jobs; }

    // `claims_held`: registers, but claims nothing before release_claims().
    void start(bool claims_held = false);
    void release_claims() { claims_held_ = false; }

    // Ends the process without waiting for anything.
    void give_up(int status) { exit(status); }

    // A job has come to a result; from Jobs.
    void finished(FinishedJob&& job);

    // Work has arrived.
    void wake() { claim_wanted_ = true; }

    // While there is more than is claimed at once, nobody has to say so.
    double wake_pause_seconds() const;

    // Claims no more, lets running jobs finish until the deadline, hands the rest back, then exits.
    void drain();

    // Does what there is to do. To be called before each wait of the event loop.
    void pump();

  private:
    // How long results and free slots gather before they go to the database, unless there is nothing to wait
    // for.
    static constexpr auto kLinger = std::chrono::milliseconds(10);
    // The same for jobs that arrive by the handful.
    static constexpr auto kGather = std::chrono::milliseconds(20);
    // For so long nothing was claimed before it is asked when there will be something.
    static constexpr auto kAskAfter = std::chrono::milliseconds(50);

    enum class Phase { waiting, running, draining, over };

    void connected();
    void be_patient();
    bool give_work(Database& lane);
    void register_executor(Database& lane);
    void registered(Database& lane, const ScriptOutcome& outcome);
    void send_heartbeat(Database& lane);
    void heard(Database& lane, const ScriptOutcome& outcome, Clock::time_point sent);
    void hand_back_stale();
    void send_release(Database& lane);
    void send_results(Database& lane);
    void results_answered(Database& lane, ResultBatch& batch, const ScriptOutcome& outcome);
    void results_refused(Database& lane, ResultBatch& batch, const ScriptOutcome& outcome);
    void look_again(const ResultBatch& batch);
    void claim(Database& lane);
    void claimed(Database& lane, const ScriptOutcome& outcome, std::size_t asked);
    void claim_refused(Database& lane, const ScriptOutcome& outcome);
    void size_next_claim(std::size_t asked, std::size_t got);
    void ask_next_claim(Database& lane);
    std::size_t ahead() const;
    std::size_t free_room() const;
    std::size_t claimable() const;
    Clock::time_point next_gathered() const { return last_claim_ + (trickling_ ? kGather : kLinger); }
    bool asks_next() const;
    bool results_ripe() const;
    bool nothing_left() const;
    bool once_is_done() const;
    void failed(Database& lane, const ScriptOutcome& outcome, std::string_view what);
    void arm_timer();
    void release_later(Jobs::Released released);
    void drain_deadline();
    void exit(int status);
    bool retry_is_due() const { return Clock::now() >= retry_at_; }

    EventLoop& loop_;
    Lanes lanes_;
    Logger& log_;
    Metrics& metrics_;
    TestStops& stops_;
    RunnerSettings settings_;
    std::function<void(int)> on_exit_;
    std::function<void(const std::string&)> registered_callback_ = [](const std::string&) {};
    std::function<void()> completed_callback_ = [] {};
    std::function<bool()> others_done_ = [] { return true; };
    Jobs* jobs_ = nullptr;

    Phase phase_ = Phase::waiting;
    std::string incarnation_;
    ResultQueue results_;
    Jobs::Released to_release_;
    // What is under way; of each but completions one at a time.
    bool registering_ = false;
    bool heartbeat_sent_ = false;
    bool releasing_ = false;
    bool claiming_ = false;
    bool asking_ = false;
    int completing_ = 0;
    Clock::time_point first_result_{};
    Clock::time_point next_heartbeat_{};
    Clock::time_point next_claim_{};
    Clock::time_point last_claim_{};
    Clock::time_point prefetch_from_{};  // nothing is prefetched before
    Clock::time_point retry_at_{};       // after an error of the server: nothing but heartbeats before
    RetryDelay retry_delay_{0.2, 30};
    std::size_t ahead_limit_ = 0;  // grows from claim to claim while there is more
    bool claims_held_ = false;
    bool claim_wanted_ = true;
    bool plenty_ = false;     // the last claim brought all that was asked for
    bool trickling_ = false;  // jobs arrive faster than one by one, yet not as fast as they are claimed
    bool ask_next_ = false;
    bool drained_ = false;  // the last claim brought less than asked for, and nothing ended since
    Timer timer_;
    Timer deadline_;
    Timer patience_;  // --once does not wait for ever for a database
};

}  // namespace sync_engine

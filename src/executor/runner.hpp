#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include "executor/database.hpp"
#include "executor/jobs.hpp"
#include "executor/log.hpp"
#include "executor/metrics.hpp"
#include "executor/results.hpp"
#include "executor/retry_delay.hpp"
#include "executor/store.hpp"
#include "executor/test_stops.hpp"

namespace sync_engine {

struct RunnerSettings {
    std::string name;
    std::string info_json;
    std::size_t batch_size = 1000;
    std::size_t prefetch = 0;
    bool once = false;
    double poll_seconds = 5;
    double heartbeat_seconds = 15;
    double drain_seconds = 30;
};

// Talks to the database on one connection, one statement or transaction at a time, whatever is most urgent
// first: register, what is in doubt, heartbeat, releases, results, claims, when to look again. Everything
// else happens while it waits, so the busier it is, the larger its batches become.
class Runner {
  public:
    // `on_exit` is called once, with the process's exit status.
    Runner(EventLoop& loop, Database& database, Logger& log, Metrics& metrics, TestStops& stops,
           RunnerSettings settings, std::function<void(int)> on_exit);

    // Must be called before start(); `jobs` is borrowed.
    void attach(Jobs& jobs) { jobs_ = &jobs; }

    // `claims_held`: registers, but claims nothing before release_claims().
    void start(bool claims_held = false);
    void release_claims() { claims_held_ = false; }

    // Ends the process without waiting for anything.
    void give_up(int status) { exit(status); }

    // A job has come to a result; from Jobs.
    void finished(FinishedJob&& job);

    // Work may have arrived.
    void wake() { claim_wanted_ = true; }

    // Claims no more, lets running jobs finish until the deadline, hands the rest back, then exits.
    void drain();

    // Does the next thing, if there is one. To be called before each wait of the event loop.
    void pump();

  private:
    // How long results and free slots gather before they go to the database, unless there is nothing to wait
    // for.
    static constexpr auto kLinger = std::chrono::milliseconds(10);

    enum class Phase { waiting, running, draining, over };

    void connected();
    void be_patient();
    void register_executor();
    void registered(const ScriptOutcome& outcome);
    void send_heartbeat();
    void heard(const ScriptOutcome& outcome);
    void send_release();
    void send_results();
    void results_answered(const ScriptOutcome& outcome);
    void results_refused(const ScriptOutcome& outcome);
    void claim();
    void claimed(const ScriptOutcome& outcome, std::size_t asked);
    void ask_next_claim();
    std::size_t free_room() const;
    std::size_t claimable() const;
    bool results_ripe() const;
    bool nothing_left() const;
    bool once_is_done() const;
    void failed(const ScriptOutcome& outcome, std::string_view what);
    void arm_timer();
    void release_later(Jobs::Released released);
    void drain_deadline();
    void exit(int status);
    bool retry_is_due() const { return Clock::now() >= retry_at_; }

    EventLoop& loop_;
    Database& database_;
    Logger& log_;
    Metrics& metrics_;
    TestStops& stops_;
    RunnerSettings settings_;
    std::function<void(int)> on_exit_;
    Jobs* jobs_ = nullptr;

    Phase phase_ = Phase::waiting;
    std::string incarnation_;
    ResultQueue results_;
    ResultBatch sending_;
    Jobs::Released to_release_;
    Clock::time_point first_result_{};
    Clock::time_point next_heartbeat_{};
    Clock::time_point next_claim_{};
    Clock::time_point last_claim_{};
    Clock::time_point retry_at_{};  // after an error of the server: nothing but heartbeats before
    RetryDelay retry_delay_{0.2, 30};
    bool claims_held_ = false;
    bool claim_wanted_ = true;
    bool ask_next_ = false;
    bool drained_ = false;  // the last claim brought less than asked for, and nothing ended since
    Timer timer_;
    Timer deadline_;
    Timer patience_;  // --once does not wait for ever for a database
};

}  // namespace sync_engine

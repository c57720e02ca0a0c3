#pragma once

#include <algorithm>
#include <chrono>
#include <functional>
#include <string>

#include "executor/database.hpp"
#include "executor/deliveries.hpp"
#include "executor/delivery_results.hpp"
#include "executor/metrics.hpp"
#include "executor/test_stops.hpp"
#include "process/log.hpp"
#include "process/retry_delay.hpp"

namespace sync_engine {

struct DelivererSettings {
    std::size_t concurrency = 16;  // deliveries in flight
    bool email = false;            // whether mails can be sent, beside webhooks
    bool once = false;
    double poll_seconds = 5;
    double drain_seconds = 30;
};

// Claims deliveries of notifications on a connection of its own, has them sent and tells the database what
// came of them, whatever is most urgent first: what is in doubt, releases, results, claims, when to look
// again. What is claimed is under the lease that the runner's heartbeats keep. Against an extension that is
// older than notifications it does nothing but look again each minute.
class Deliverer {
  public:
    Deliverer(EventLoop& loop, Database& database, Logger& log, Metrics& metrics, TestStops& stops,
              const DelivererSettings& settings);

    // Must be called before start(); `deliveries` is borrowed.
    void attach(Deliveries& deliveries) { deliveries_ = &deliveries; }

    // Once the runner is registered. With `once` it waits for work_off().
    void start(std::string incarnation);

    // With `once`, when the jobs are done: works off what is due. Idempotent.
    void work_off();

    // A delivery has come to a result; from Deliveries.
    void finished(FinishedDelivery&& finished);

    // Something may have become due.
    void wake() { wanted_ = true; }
    // The same where it is likely and nobody is woken for it: looks within a second, however often it is
    // told.
    void look_soon() { next_claim_ = std::min(next_claim_, Clock::now() + std::chrono::seconds(1)); }

    // Claims no more, lets what is in flight finish until the deadline, hands the rest back.
    void drain();

    // Whether nothing is held and nothing will be claimed: before start(), after drain() or work_off().
    bool done() const;
    // Whether work_off() could not come to its end.
    bool gave_up() const noexcept { return gave_up_; }

    // Does what there is to do. To be called before each wait of the event loop.
    void pump();

  private:
    // How long results gather before they go to the database, unless there is nothing to wait for.
    static constexpr auto kLinger = std::chrono::milliseconds(10);
    // Between claims while there is more than slots, unless half of them are free.
    static constexpr auto kGather = std::chrono::milliseconds(50);
    // Between claims for wake-ups: where jobs are many, most of these tell of no notification.
    static constexpr auto kWakeGap = std::chrono::milliseconds(200);

    enum class Phase { waiting, running, draining, over };

    bool give_work();
    void claim();
    void claimed(const ScriptOutcome& outcome, std::size_t asked);
    void claim_refused(const ScriptOutcome& outcome);
    void send_results();
    void results_answered(DeliveryBatch& batch, const ScriptOutcome& outcome);
    void results_refused(DeliveryBatch& batch, const ScriptOutcome& outcome);
    void send_release();
    void ask_next();
    void release_later(Deliveries::Released released);
    void failed(const ScriptOutcome& outcome, std::string_view what);
    std::size_t free_slots() const;
    Clock::time_point claim_time(std::size_t free) const;
    bool results_ripe() const;
    bool retry_is_due() const { return Clock::now() >= retry_at_; }
    void arm_timer();
    void be_patient();
    void give_up();

    Database& database_;
    Logger& log_;
    Metrics& metrics_;
    TestStops& stops_;
    DelivererSettings settings_;
    Deliveries* deliveries_ = nullptr;

    Phase phase_ = Phase::waiting;
    std::string incarnation_;
    DeliveryResultQueue results_;
    Deliveries::Released to_release_;
    Clock::time_point first_result_{};
    Clock::time_point last_claim_{};
    Clock::time_point next_claim_{};
    Clock::time_point retry_at_{};  // after an error of the server: nothing before
    RetryDelay retry_delay_{0.2, 30};
    bool wanted_ = true;
    bool plenty_ = false;    // the last claim brought all that was asked for
    bool nothing_ = false;   // it brought nothing
    bool ask_next_ = false;  // when something will be due is not known
    bool missing_told_ = false;
    bool gave_up_ = false;
    int refusals_ = 0;  // in a row
    Timer timer_;
    Timer deadline_;
    Timer patience_;
};

}  // namespace sync_engine

#pragma once

#include <functional>

#include "executor/database.hpp"
#include "executor/metrics.hpp"
#include "executor/store.hpp"

namespace sync_engine {

// Drives the engine's ticks on a connection of its own, for servers without the background worker: every tick
// interval the batches of one tick, a transaction each, and now and then housekeeping. Does nothing while the
// engine is off.
class Ticker {
  public:
    Ticker(EventLoop& loop, Logger& log, Metrics& metrics, Database& database);

    // Ticks at once and then every interval.
    void start();
    // Ticks once, then calls `done`: true, or false when the database keeps refusing.
    void start_once(std::function<void(bool)> done);
    // No further batch begins.
    void stop();

  private:
    void begin();
    void tick_batch();
    void batch_done(const ScriptOutcome& outcome);
    void housekeeping();
    void round_done();
    void finish_once(bool ticked);
    void begin_after(double seconds);
    void failed(const ScriptOutcome& outcome, std::string_view what);

    Logger& log_;
    Metrics& metrics_;
    Database& database_;
    std::function<void(bool)> done_once_;
    int refusals_ = 0;  // in a row
    bool stopped_ = false;
    bool due_ = true;
    bool quiet_told_ = false;
    double interval_seconds_ = 60;
    Clock::time_point began_{};
    Clock::time_point next_housekeeping_{};
    Timer timer_;
};

}  // namespace sync_engine

#include "executor/ticker.hpp"

#include <algorithm>
#include <utility>

namespace sync_engine {

namespace {

constexpr double kRetrySeconds = 1;
constexpr int kMostRefusals = 5;  // of a tick with --once
constexpr double kHousekeepingSeconds = 60;
constexpr std::string_view kLockNotAvailable = "55P03";

}  // namespace

Ticker::Ticker(EventLoop& loop, Logger& log, Metrics& metrics, Database& database)
    : log_(log), metrics_(metrics), database_(database), timer_(loop) {
    database_.on_idle([this] {
        if (due_ && !stopped_) {
            begin();
        }
    });
}

void Ticker::start() {
    database_.open();
}

void Ticker::start_once(std::function<void(bool)> done) {
    done_once_ = std::move(done);
    database_.open();
}

void Ticker::stop() {
    stopped_ = true;
    timer_.clear();
}

void Ticker::begin() {
    due_ = false;
    began_ = Clock::now();
    const Statement ask = tick_state_statement();
    database_.run(ask.sql, ask.params, [this](ScriptOutcome&& outcome) {
        if (!outcome.done()) {
            failed(outcome, "asking for the engine's state");
            return;
        }
        const TickState state = parse_tick_state(outcome.result());
        interval_seconds_ = std::max(0.1, state.interval_seconds.value_or(60));
        if (state.quiet != quiet_told_) {
            log_.info(state.quiet ? "the engine is off: no ticks" : "the engine is on: ticking");
            quiet_told_ = state.quiet;
        }
        if (state.quiet) {
            round_done();
        } else {
            tick_batch();
        }
    });
}

void Ticker::tick_batch() {
    if (stopped_) {
        return;
    }
    database_.run(tick_script(), [this](ScriptOutcome&& outcome) { batch_done(outcome); });
}

void Ticker::batch_done(const ScriptOutcome& outcome) {
    if (!outcome.done()) {
        failed(outcome, "ticking");
        return;
    }
    const TickReport report = parse_tick(outcome.result(kScriptAnswer));
    metrics_.ticked(static_cast<std::size_t>(report.enqueued));
    if (report.enqueued > 0 || report.skipped > 0 || report.requeued > 0) {
        log_.info("tick", {{"enqueued", std::int64_t{report.enqueued}},
                           {"skipped", std::int64_t{report.skipped}},
                           {"requeued", std::int64_t{report.requeued}},
                           {"backlog", std::int64_t{report.backlog}},
                           {"duration_ms", report.duration_ms},
                           {"more", report.more}});
    }
    if (report.more) {
        tick_batch();
    } else if (!done_once_ && Clock::now() >= next_housekeeping_) {
        housekeeping();
    } else {
        round_done();
    }
}

void Ticker::housekeeping() {
    if (stopped_) {
        return;
    }
    database_.run(housekeeping_script(), [this](ScriptOutcome&& outcome) {
        if (!outcome.done()) {
            failed(outcome, "housekeeping");
        } else if (parse_boolean(outcome.result(kScriptAnswer))) {
            housekeeping();
        } else {
            next_housekeeping_ = Clock::now() + seconds_to_duration(kHousekeepingSeconds);
            round_done();
        }
    });
}

void Ticker::round_done() {
    refusals_ = 0;
    if (done_once_) {
        finish_once(true);
        return;
    }
    const std::chrono::duration<double> since = Clock::now() - began_;
    begin_after(std::max(0.0, interval_seconds_ - since.count()));
}

void Ticker::finish_once(bool ticked) {
    stopped_ = true;
    const auto done = std::exchange(done_once_, nullptr);
    done(ticked);
}

void Ticker::begin_after(double seconds) {
    timer_.set_after(seconds, [this] {
        due_ = true;
        if (database_.idle() && !stopped_) {
            begin();
        }
    });
}

void Ticker::failed(const ScriptOutcome& outcome, std::string_view what) {
    if (outcome.lost()) {
        due_ = true;  // begins anew when the connection is back
        return;
    }
    if (outcome.sqlstate == kLockNotAvailable) {
        // Neither waits for long: another does the same, or somebody has locked a table.
        log_.info("put off: a lock was not free", {{"what", what}});
    } else {
        log_.error("the database refused",
                   {{"what", what}, {"sqlstate", outcome.sqlstate}, {"error", outcome.message}});
    }
    if (done_once_ && ++refusals_ >= kMostRefusals) {
        finish_once(false);
        return;
    }
    if (classify_sqlstate(outcome.sqlstate) == SqlTrouble::read_only) {
        due_ = true;
        database_.reconnect("the server is a standby");
        return;
    }
    begin_after(std::min(kRetrySeconds, interval_seconds_));
}

}  // namespace sync_engine

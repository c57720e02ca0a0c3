#include "executor/waker.hpp"

#include <utility>

namespace sync_engine {

namespace {

// Short enough for proxies and firewalls that cut silent connections.
constexpr int kWaitMs = 30'000;
constexpr double kOverdueSeconds = 10;
constexpr double kRestSeconds = 60;

}  // namespace

Waker::Waker(EventLoop& loop, Logger& log, Database& database, std::function<void()> on_wake,
             std::function<double()> pause_seconds)
    : log_(log),
      database_(database),
      on_wake_(std::move(on_wake)),
      pause_seconds_(std::move(pause_seconds)),
      timer_(loop) {
    database_.on_idle([this] { idle(); });
}

void Waker::stop() {
    timer_.clear();
    database_.close();
}

void Waker::idle() {
    const double pause = seen_ ? pause_seconds_() : 0;
    if (pause <= 0) {
        wait();
        return;
    }
    timer_.set_after(pause, [this] {
        if (database_.idle()) {
            wait();
        }
    });
}

void Waker::wait() {
    // The first call only asks where the wake-ups have got to: from then on none is missed between two calls.
    const int wait_ms = seen_ ? kWaitMs : 0;
    timer_.set_after(wait_ms / 1000.0 + kOverdueSeconds,
                     [this] { database_.reconnect("no answer while waiting"); });
    database_.run("CALL sync.wait_for_work($1::int, $2::bigint)", {std::to_string(wait_ms), seen_},
                  [this](ScriptOutcome&& outcome) { answered(outcome); });
}

void Waker::answered(const ScriptOutcome& outcome) {
    timer_.clear();
    if (outcome.lost()) {
        return;
    }
    if (!outcome.done()) {
        rest(outcome.message);
        return;
    }
    const PGresult* result = outcome.result();
    if (PQntuples(result) != 1 || PQgetisnull(result, 0, 0) == 1) {
        rest("the extension is not preloaded");
        return;
    }
    const std::string now = PQgetvalue(result, 0, 0);
    const bool news = seen_ != now;
    seen_ = now;
    if (news) {
        on_wake_();
    }
}

void Waker::rest(std::string_view reason) {
    if (!told_) {
        log_.warn("no wake-ups from the database, polling", {{"error", reason}});
        told_ = true;
    }
    database_.close();
    timer_.set_after(kRestSeconds, [this] { database_.open(); });
}

}  // namespace sync_engine

#pragma once

#include <functional>
#include <memory>
#include <vector>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>

#include "gateway/pg_connection.hpp"
#include "gateway/pg_pool.hpp"

namespace sync_engine {

// Something that one coroutine waits for and another brings about. The waiting one may be cancelled or
// destroyed.
class Signal {
  public:
    explicit Signal(const boost::asio::any_io_executor& executor) : timer_(executor) {}

    // Until notify() or the time; may return sooner. Throws when the coroutine is cancelled.
    boost::asio::awaitable<void> wait(SteadyTime until = SteadyTime::max());
    void notify() noexcept {
        try {
            timer_.cancel();
        } catch (...) {  // declared, not known to happen: who waits looks when its time comes
        }
    }

  private:
    boost::asio::steady_timer timer_;
};

// One pipeline that is handed to who serves a connection.
struct PgTask {
    explicit PgTask(const boost::asio::any_io_executor& executor) : changed(executor) {}

    std::vector<PgStatement> pipeline;
    bool commit = false;
    PgOutcome outcome;
    bool over = false;
    Signal changed;

    void finish(PgOutcome with) {
        outcome = std::move(with);
        over = true;
        changed.notify();
    }
};

struct PgPool::Lease::Link {
    explicit Link(const boost::asio::any_io_executor& on) : executor(on) {}

    boost::asio::any_io_executor executor;
    std::shared_ptr<PgTask> task;  // what the holder wants next
    bool dropped = false;          // the holder is gone, or done
    bool over = false;             // the connection is no longer the holder's
    std::function<void()> wake;    // whoever serves it; only while it is served

    void drop() {
        dropped = true;
        if (wake) {
            wake();
        }
    }
};

// Serves the holder of a lease until it is committed or dropped or the connection is lost; leaves no
// transaction open. `ran` is told how long each pipeline took.
boost::asio::awaitable<void> serve_lease(PgSession& session, std::shared_ptr<PgPool::Lease::Link> link,
                                         std::function<void(double)> ran);

}  // namespace sync_engine

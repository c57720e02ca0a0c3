#pragma once

#include <functional>
#include <optional>
#include <string>

#include "executor/database.hpp"

namespace sync_engine {

// Waits on a connection of its own for the database to say that work has arrived. Where the server cannot
// (the extension is not preloaded, no right to call it), the connection is closed for a while: the executor
// polls anyway.
class Waker {
  public:
    // `pause_seconds`: how long wake-ups may gather before the next is asked for; none is missed meanwhile.
    Waker(EventLoop& loop, Logger& log, Database& database, std::function<void()> on_wake,
          std::function<double()> pause_seconds);

    void start() { database_.open(); }
    void stop();

  private:
    void idle();
    void wait();
    void answered(const ScriptOutcome& outcome);
    void rest(std::string_view reason);

    Logger& log_;
    Database& database_;
    std::function<void()> on_wake_;
    std::function<double()> pause_seconds_;
    std::optional<std::string> seen_;  // where the database's wake-ups had got to
    Timer timer_;
    bool told_ = false;  // that there are no wake-ups; said once
};

}  // namespace sync_engine

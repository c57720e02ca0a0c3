#pragma once

#include "executor/event_loop.hpp"

namespace sync_engine {

// SIGTERM and SIGINT: the first calls `on_stop` from the event loop, a second exits the process at once, even
// while the loop is busy. One instance at a time. SIGPIPE is ignored from then on.
class StopSignals : public FdSource {
  public:
    // Throws std::system_error.
    StopSignals(EventLoop& loop, std::function<void()> on_stop);
    ~StopSignals() override;
    StopSignals(const StopSignals&) = delete;
    StopSignals& operator=(const StopSignals&) = delete;

    int fd() const noexcept override { return fd_; }
    bool wants_read() const noexcept override { return true; }
    bool wants_write() const noexcept override { return false; }
    void on_ready(bool readable, bool writable) override;

  private:
    EventLoop& loop_;
    std::function<void()> on_stop_;
    int fd_;
};

}  // namespace sync_engine

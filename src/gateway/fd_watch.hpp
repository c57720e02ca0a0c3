#pragma once

#include <chrono>
#include <memory>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

namespace sync_engine {

using SteadyTime = std::chrono::steady_clock::time_point;

SteadyTime seconds_from_now(double seconds);

// Waits on a descriptor that somebody else owns: it is never closed here. For one coroutine at a time; others
// may wake it.
class FdWatch {
  public:
    explicit FdWatch(const boost::asio::any_io_executor& executor);
    FdWatch(const FdWatch&) = delete;
    FdWatch& operator=(const FdWatch&) = delete;
    ~FdWatch();

    // From now on this descriptor. It must stay open until release().
    void assign(int fd);
    void release() noexcept;

    // Until the descriptor is readable (where `read`) or writable (where `write`), wake() is called, or the
    // time has come. Wakes that came before it count. Whether it is the descriptor that is ready.
    boost::asio::awaitable<bool> wait(bool read, bool write, SteadyTime until);
    void wake() noexcept;

  private:
    struct State;
    std::shared_ptr<State> state_;  // handlers that are still on their way hold it too
};

}  // namespace sync_engine

#pragma once

#include <string>

#include <boost/asio/awaitable.hpp>

namespace sync_engine {

// Where the events of an endless text/event-stream come from. The server calls it from the one thread that
// there is, one next() at a time.
class EventSource {
  public:
    EventSource() = default;
    EventSource(const EventSource&) = delete;
    EventSource& operator=(const EventSource&) = delete;
    virtual ~EventSource();

    // The next bytes to send, which may be a comment that keeps proxies awake (": ping\n\n"). Empty: the
    // stream has ended.
    virtual boost::asio::awaitable<std::string> next() = 0;

    // The client is gone or the server stops: a next() that waits returns empty soon. Called once or more,
    // also after the end.
    virtual void closed() noexcept = 0;
};

}  // namespace sync_engine

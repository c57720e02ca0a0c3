#pragma once

#include <boost/asio/awaitable.hpp>

#include "gateway/http_message.hpp"

namespace sync_engine {

// Answers requests. The server calls it from the one thread that there is, for many requests at a time. What
// it throws becomes a 500. A request that takes longer than it may is answered with a 503 and its coroutine
// cancelled (terminal cancellation): what that coroutine returns later goes nowhere.
class Handler {
  public:
    Handler() = default;
    Handler(const Handler&) = delete;
    Handler& operator=(const Handler&) = delete;
    virtual ~Handler();

    virtual boost::asio::awaitable<HttpReply> handle(HttpRequest request) = 0;

    // The server has been told to stop: it takes no connections any more and finishes what is under way.
    virtual void drain() noexcept {}
};

}  // namespace sync_engine

#pragma once

#include <boost/asio/awaitable.hpp>

#include "gateway/handler.hpp"

namespace sync_engine {

// Who answers what, by path:
//   /hooks/...                       hooks
//   /api/v2/events                   events
//   /healthz, /readyz, /metrics      operations
//   anything else below /api/        api
class GatewayHandler final : public Handler {
  public:
    // All borrowed.
    GatewayHandler(Handler& hooks, Handler& events, Handler& operations, Handler& api)
        : hooks_(hooks), events_(events), operations_(operations), api_(api) {}

    boost::asio::awaitable<HttpReply> handle(HttpRequest request) override;

  private:
    // Null: nobody.
    Handler* handler_of(const std::string& path) const;

    Handler& hooks_;
    Handler& events_;
    Handler& operations_;
    Handler& api_;
};

}  // namespace sync_engine

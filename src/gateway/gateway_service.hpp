#pragma once

#include <functional>
#include <memory>

#include <boost/asio/awaitable.hpp>

#include "gateway/application.hpp"
#include "gateway/gateway_handler.hpp"
#include "gateway/handler.hpp"
#include "gateway/hook_endpoint.hpp"
#include "gateway/live_hub.hpp"
#include "gateway/operations_endpoint.hpp"
#include "gateway/pg_pool.hpp"
#include "gateway/service_metrics.hpp"

namespace sync_engine {

// What answers /api/ but for the events.
using ApiFactory = std::function<std::unique_ptr<Handler>(const GatewayParts&, PgPool&)>;

// All that sync-gateway answers, and its connections to the database.
class GatewayService final : public Handler {
  public:
    GatewayService(const GatewayParts& parts, const ApiFactory& make_api);

    boost::asio::awaitable<HttpReply> handle(HttpRequest request) override {
        return router_.handle(std::move(request));
    }
    void drain() noexcept override { operations_.drain(); }

  private:
    ServiceMetrics metrics_;
    PgPool pool_;
    LiveHub hub_;
    HookEndpoint hooks_;
    OperationsEndpoint operations_;
    std::unique_ptr<Handler> api_;
    GatewayHandler router_;
};

}  // namespace sync_engine

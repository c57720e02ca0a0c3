#pragma once

#include "gateway/gateway_metrics.hpp"
#include "gateway/handler.hpp"

namespace sync_engine {

// Answers what needs no database: /healthz, that the process serves, and /metrics. `metrics` is borrowed.
class StatusHandler : public Handler {
  public:
    explicit StatusHandler(const GatewayMetrics& metrics) : metrics_(metrics) {}

    boost::asio::awaitable<HttpReply> handle(HttpRequest request) override;

  private:
    const GatewayMetrics& metrics_;
};

}  // namespace sync_engine

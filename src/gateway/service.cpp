#include "gateway/service.hpp"

#include <utility>

#include "gateway/api/api_endpoint.hpp"
#include "gateway/gateway_handler.hpp"
#include "gateway/hook_endpoint.hpp"
#include "gateway/live_hub.hpp"
#include "gateway/operations_endpoint.hpp"
#include "gateway/pg_pool.hpp"
#include "gateway/service_metrics.hpp"

namespace sync_engine {

namespace {

PgPoolOptions pool_options(const GatewayOptions& options) {
    PgPoolOptions pool;
    pool.connection.url = options.database_url;
    pool.size = static_cast<std::size_t>(options.db_connections);
    return pool;
}

// Members are made in this order and go in the other one.
class Service final : public Handler {
  public:
    explicit Service(const GatewayParts& parts)
        : metrics_(parts.metrics.registry()),
          pool_(parts.io.get_executor(), parts.log, pool_options(parts.options), &metrics_),
          hub_(parts.io.get_executor(), pool_, parts.log, metrics_),
          hooks_(pool_, parts.log, metrics_),
          operations_(pool_, hub_, parts.log, metrics_, parts.metrics.registry(),
                      {parts.options.metrics_token, parts.options.metrics_allow}),
          api_(pool_, parts.log, parts.options.public_url),
          handler_(hooks_, hub_, operations_, api_) {
        parts.redactor.add(parts.options.metrics_token);
    }

    boost::asio::awaitable<HttpReply> handle(HttpRequest request) override {
        return handler_.handle(std::move(request));
    }

    void drain() noexcept override {
        operations_.drain();
        hub_.close();
    }

  private:
    ServiceMetrics metrics_;
    PgPool pool_;
    LiveHub hub_;
    HookEndpoint hooks_;
    OperationsEndpoint operations_;
    ApiEndpoint api_;
    GatewayHandler handler_;
};

}  // namespace

std::unique_ptr<Handler> make_service(const GatewayParts& parts) {
    return std::make_unique<Service>(parts);
}

}  // namespace sync_engine

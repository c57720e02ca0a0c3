#include "gateway/gateway_service.hpp"

namespace sync_engine {

namespace {

PgPoolOptions pool_options(const GatewayOptions& options) {
    PgPoolOptions pool;
    pool.connection.url = options.database_url;
    pool.size = static_cast<std::size_t>(options.db_connections);
    return pool;
}

OperationsOptions operations_options(const GatewayParts& parts) {
    parts.redactor.add(parts.options.metrics_token);
    return {parts.options.metrics_token, parts.options.metrics_allow};
}

}  // namespace

GatewayService::GatewayService(const GatewayParts& parts, const ApiFactory& make_api)
    : metrics_(parts.metrics.registry()),
      pool_(parts.io.get_executor(), parts.log, pool_options(parts.options), &metrics_),
      hub_(parts.io.get_executor(), pool_, parts.log, metrics_),
      hooks_(pool_, parts.log, metrics_),
      operations_(pool_, hub_, parts.log, metrics_, parts.metrics.registry(), operations_options(parts)),
      api_(make_api(parts, pool_)),
      router_(hooks_, hub_, operations_, *api_) {}

}  // namespace sync_engine

// sync-gateway: the HTTP API of a sync_engine database for its tenants.
#include <memory>

#include "gateway/gateway_service.hpp"
#include "gateway/program.hpp"
#include "gateway/status_handler.hpp"

int main(int argc, char** argv) {
    using namespace sync_engine;
    const auto make_api = [](const GatewayParts& parts, PgPool&) -> std::unique_ptr<Handler> {
        return std::make_unique<StatusHandler>(parts.metrics);
    };
    return gateway_main(argc, argv, [&](const GatewayParts& parts) -> std::unique_ptr<Handler> {
        return std::make_unique<GatewayService>(parts, make_api);
    });
}

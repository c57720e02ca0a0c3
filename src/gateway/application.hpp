#pragma once

#include <functional>
#include <memory>

#include <boost/asio/io_context.hpp>

#include "gateway/gateway_metrics.hpp"
#include "gateway/handler.hpp"
#include "gateway/options.hpp"
#include "process/log.hpp"
#include "process/redactor.hpp"

namespace sync_engine {

// What a handler may use. All of it outlives the handler.
struct GatewayParts {
    boost::asio::io_context& io;
    const GatewayOptions& options;
    Logger& log;
    Redactor& redactor;
    GatewayMetrics& metrics;
};

using HandlerFactory = std::function<std::unique_ptr<Handler>(const GatewayParts&)>;

// Serves until SIGTERM or SIGINT; returns the exit status. A second such signal ends the process at once.
// Throws std::exception where it cannot begin.
int run_gateway(const GatewayOptions& options, const HandlerFactory& make_handler);

}  // namespace sync_engine

#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <boost/asio/awaitable.hpp>
#include <prometheus/registry.h>

#include "gateway/fd_watch.hpp"
#include "gateway/handler.hpp"
#include "gateway/live_hub.hpp"
#include "gateway/pg_pool.hpp"
#include "gateway/service_metrics.hpp"
#include "process/ip_address.hpp"
#include "process/log.hpp"

namespace sync_engine {

struct OperationsOptions {
    std::string metrics_token;  // who has it may read /metrics, from anywhere; empty: by address
    // Who else may; empty: loopback and private addresses, but not through a proxy that hides who asks.
    std::vector<AddressBlock> scrapers;
};

// For who runs the gateway:
//   /healthz  the process answers
//   /readyz   it may be sent requests: the database answers, is of a version that this gateway works with,
//             keeps tenants apart, and shows this gateway no row before a token has named a tenant
//   /health   how the engine in the database is: what sync.health() finds; for whom /metrics are, 503 where
//             something is critical. Not for load balancers: that no run is started is no fault of a
//             gateway's
//   /metrics  the gateway's metrics and the database's, in OpenMetrics text; nothing in them names a tenant
class OperationsEndpoint final : public Handler {
  public:
    // All references are borrowed. `registry`: of the metrics of this process.
    OperationsEndpoint(PgPool& pool, const LiveHub& hub, Logger& log, ServiceMetrics& metrics,
                       const prometheus::Registry& registry, OperationsOptions options);

    boost::asio::awaitable<HttpReply> handle(HttpRequest request) override;

    // Not ready any more: whoever spreads requests shall leave this gateway out.
    void drain() noexcept override { draining_ = true; }

  private:
    static constexpr std::string_view kNotLookedYet = "the database has not been looked at yet";

    boost::asio::awaitable<HttpReply> readiness();
    boost::asio::awaitable<std::vector<std::string>> faults();
    std::vector<std::string> faults_when_busy() const;
    boost::asio::awaitable<HttpReply> health();
    boost::asio::awaitable<HttpReply> metrics();
    bool may_scrape(const HttpRequest& request) const;
    HttpReply not_for_everybody(const HttpRequest& request) const;

    PgPool& pool_;
    const LiveHub& hub_;
    Logger& log_;
    ServiceMetrics& metrics_;
    const prometheus::Registry& registry_;
    OperationsOptions options_;
    bool scrapers_by_default_;
    bool draining_ = false;
    // What was found lately, so that asking often costs the database nothing.
    std::vector<std::string> found_{std::string(kNotLookedYet)};
    SteadyTime found_until_{};
    HttpReply health_;
    SteadyTime health_until_{};
};

// Whether a gateway of one version works with an extension of another: the same, or a later one of the same
// major version. "0.2.0".
bool is_served(std::string_view gateway, std::string_view extension);

}  // namespace sync_engine

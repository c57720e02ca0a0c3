#pragma once

#include <array>
#include <memory>
#include <string>
#include <string_view>

#include <prometheus/counter.h>
#include <prometheus/exposer.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

namespace sync_engine {

// What this process counts. Always kept; served over HTTP only where an address is given.
class Metrics {
  public:
    Metrics();

    // "host:port". Serves /metrics from a thread of its own. Throws std::runtime_error when the address
    // cannot be bound.
    void expose(const std::string& address);

    void claimed(std::size_t jobs, double seconds);
    void in_flight(std::size_t waiting, std::size_t running, std::size_t finishing);
    // `outcome`: completed, failed, rejected, stale, released, cancelled.
    void job_ended(std::string_view outcome);
    void job_failed(std::string_view kind);
    void run_took(double seconds) { run_seconds_->Observe(seconds); }
    void signals(std::size_t count) { signals_->Increment(static_cast<double>(count)); }
    // Status 0: no reply.
    void http_request(long status);
    void batch_sent(std::size_t jobs) { batch_jobs_->Observe(static_cast<double>(jobs)); }
    void database_connected(std::string_view role);
    void database_lost(std::string_view role);
    void ticked(std::size_t enqueued);

    // `channel`: email, webhook. `result`: delivered, failed, refused, gone, stale, rejected, released.
    void delivery_ended(std::string_view channel, std::string_view result);
    void delivery_took(std::string_view channel, double seconds);

    const prometheus::Registry& registry() const noexcept { return *registry_; }

  private:
    std::shared_ptr<prometheus::Registry> registry_;
    prometheus::Counter* claimed_;
    prometheus::Histogram* claim_seconds_;
    std::array<prometheus::Gauge*, 3> in_flight_;
    prometheus::Family<prometheus::Counter>& ended_;
    prometheus::Family<prometheus::Counter>& failed_;
    prometheus::Histogram* run_seconds_;
    prometheus::Counter* signals_;
    prometheus::Family<prometheus::Counter>& requests_;
    prometheus::Histogram* batch_jobs_;
    prometheus::Family<prometheus::Counter>& connects_;
    prometheus::Family<prometheus::Counter>& losses_;
    prometheus::Counter* ticks_;
    prometheus::Counter* enqueued_;
    prometheus::Family<prometheus::Counter>& deliveries_;
    prometheus::Family<prometheus::Histogram>& delivery_seconds_;
    std::unique_ptr<prometheus::Exposer> exposer_;
};

}  // namespace sync_engine

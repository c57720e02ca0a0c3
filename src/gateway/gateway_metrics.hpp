#pragma once

#include <memory>
#include <string>
#include <string_view>

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

namespace sync_engine {

// What this process counts. Nothing serves it by itself.
class GatewayMetrics {
  public:
    GatewayMetrics();

    // `status` 0: the client went away before it had its answer.
    void request_ended(std::string_view method, unsigned status, double seconds);
    void connections(std::size_t open) { connections_->Set(static_cast<double>(open)); }
    void stream_opened() { streams_->Increment(); }
    void stream_closed() { streams_->Decrement(); }
    // `reason`: connections, client, files.
    void refused(std::string_view reason);
    void timed_out() { timeouts_->Increment(); }

    // For what other parts count, and for who serves all of it.
    prometheus::Registry& registry() noexcept { return *registry_; }

  private:
    std::shared_ptr<prometheus::Registry> registry_;
    prometheus::Family<prometheus::Counter>& requests_;
    prometheus::Histogram* seconds_;
    prometheus::Gauge* connections_;
    prometheus::Gauge* streams_;
    prometheus::Family<prometheus::Counter>& refused_;
    prometheus::Counter* timeouts_;
};

}  // namespace sync_engine

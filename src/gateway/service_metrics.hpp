#pragma once

#include <memory>
#include <string>
#include <string_view>

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include "gateway/pg_pool.hpp"

namespace sync_engine {

// What the gateway counts of the database, of hooks and of streams of events.
class ServiceMetrics final : public PgPoolObserver {
  public:
    explicit ServiceMetrics(prometheus::Registry& registry);

    void connected() override { connects_->Increment(); }
    void lost() override { losses_->Increment(); }
    void waited(double seconds) override { wait_seconds_->Observe(seconds); }
    void ran(double seconds) override { run_seconds_->Observe(seconds); }
    void overloaded() override { overloads_->Increment(); }
    void pool(const PgPoolFigures& figures);

    // `outcome`: accepted, duplicate, ignored, challenge, unknown, refused, malformed, unavailable.
    void hook(std::string_view outcome);

    void watched(std::size_t tenants) { tenants_->Set(static_cast<double>(tenants)); }
    // `kind`: job, connection, schedule, notification, reset.
    void event_sent(std::string_view kind);
    // A client that did not read fast enough has been told to read all anew.
    void stream_overflowed() { overflows_->Increment(); }

  private:
    prometheus::Counter* connects_;
    prometheus::Counter* losses_;
    prometheus::Counter* overloads_;
    prometheus::Histogram* wait_seconds_;
    prometheus::Histogram* run_seconds_;
    prometheus::Family<prometheus::Gauge>& connections_;
    prometheus::Gauge* waiting_;
    prometheus::Family<prometheus::Counter>& hooks_;
    prometheus::Gauge* tenants_;
    prometheus::Family<prometheus::Counter>& events_;
    prometheus::Counter* overflows_;
};

// Metrics in OpenMetrics text, without the "# EOF" at the end.
std::string open_metrics_text(const std::vector<prometheus::MetricFamily>& families);

}  // namespace sync_engine

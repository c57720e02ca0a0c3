#include "gateway/gateway_metrics.hpp"

#include <algorithm>
#include <array>

namespace sync_engine {

namespace {

using prometheus::BuildCounter;
using prometheus::BuildGauge;
using prometheus::BuildHistogram;

prometheus::Histogram::BucketBoundaries request_buckets() {
    return {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30};
}

// A client must not be able to make new series by methods of its own.
std::string method_label(std::string_view method) {
    constexpr std::array<std::string_view, 7> known{"GET",   "HEAD",   "POST",   "PUT",
                                                    "PATCH", "DELETE", "OPTIONS"};
    return std::string(std::find(known.begin(), known.end(), method) == known.end() ? "other" : method);
}

std::string status_label(unsigned status) {
    return status == 0 ? "aborted" : std::to_string(status / 100) + "xx";
}

}  // namespace

GatewayMetrics::GatewayMetrics()
    : registry_(std::make_shared<prometheus::Registry>()),
      requests_(BuildCounter()
                    .Name("sync_gateway_requests_total")
                    .Help("Requests by method and class of status.")
                    .Register(*registry_)),
      seconds_(&BuildHistogram()
                    .Name("sync_gateway_request_seconds")
                    .Help("Time from a request's first byte to its answer's last; streams are left out.")
                    .Register(*registry_)
                    .Add({}, request_buckets())),
      connections_(&BuildGauge()
                        .Name("sync_gateway_connections")
                        .Help("Open connections of clients.")
                        .Register(*registry_)
                        .Add({})),
      streams_(&BuildGauge()
                    .Name("sync_gateway_streams")
                    .Help("Open streams of events.")
                    .Register(*registry_)
                    .Add({})),
      refused_(BuildCounter()
                   .Name("sync_gateway_refused_connections_total")
                   .Help("Connections refused, by the limit that was reached.")
                   .Register(*registry_)),
      timeouts_(&BuildCounter()
                     .Name("sync_gateway_request_timeouts_total")
                     .Help("Requests that took longer than --request-timeout.")
                     .Register(*registry_)
                     .Add({})) {}

void GatewayMetrics::request_ended(std::string_view method, unsigned status, double seconds) {
    requests_.Add({{"method", method_label(method)}, {"status", status_label(status)}}).Increment();
    if (seconds >= 0) {
        seconds_->Observe(seconds);
    }
}

void GatewayMetrics::refused(std::string_view reason) {
    refused_.Add({{"reason", std::string(reason)}}).Increment();
}

}  // namespace sync_engine

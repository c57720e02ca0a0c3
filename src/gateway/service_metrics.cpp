#include "gateway/service_metrics.hpp"

#include <array>
#include <charconv>
#include <cmath>

namespace sync_engine {

namespace {

using prometheus::Histogram;
using prometheus::Registry;

prometheus::Family<prometheus::Counter>& counters(Registry& registry, const char* name, const char* help) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
}

prometheus::Gauge* gauge(Registry& registry, const char* name, const char* help) {
    return &prometheus::BuildGauge().Name(name).Help(help).Register(registry).Add({});
}

Histogram* seconds(Registry& registry, const char* name, const char* help) {
    const Histogram::BucketBoundaries bounds{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
                                             0.1,    0.25,  0.5,    1,     2.5,  5,     10};
    return &prometheus::BuildHistogram().Name(name).Help(help).Register(registry).Add({}, bounds);
}

std::string number(double value) {
    if (std::isnan(value)) {
        return "NaN";
    }
    if (std::isinf(value)) {
        return value > 0 ? "+Inf" : "-Inf";
    }
    std::array<char, 32> text{};
    const auto [end, error] = std::to_chars(text.data(), text.data() + text.size(), value);
    return {text.data(), end};
}

std::string escaped(std::string_view text) {
    std::string out;
    for (const char c : text) {
        if (c == '\n') {
            out += "\\n";
        } else {
            out += c == '\\' || c == '"' ? std::string{'\\', c} : std::string{c};
        }
    }
    return out;
}

std::string labels_of(const prometheus::ClientMetric& metric, const std::string& bound = "") {
    std::string out;
    for (const auto& label : metric.label) {
        out += (out.empty() ? "" : ",") + label.name + "=\"" + escaped(label.value) + "\"";
    }
    if (!bound.empty()) {
        out += std::string(out.empty() ? "" : ",") + "le=\"" + bound + "\"";
    }
    return out.empty() ? "" : "{" + out + "}";
}

void append_histogram(std::string& out, const std::string& name, const prometheus::ClientMetric& metric) {
    for (const auto& bucket : metric.histogram.bucket) {
        out += name + "_bucket" + labels_of(metric, number(bucket.upper_bound)) + " " +
               std::to_string(bucket.cumulative_count) + "\n";
    }
    out += name + "_sum" + labels_of(metric) + " " + number(metric.histogram.sample_sum) + "\n";
    out += name + "_count" + labels_of(metric) + " " + std::to_string(metric.histogram.sample_count) + "\n";
}

// OpenMetrics names a family of counters without what its samples end with.
std::string without_total(const std::string& name) {
    return name.ends_with("_total") ? name.substr(0, name.size() - 6) : name;
}

void append_family(std::string& out, const prometheus::MetricFamily& family) {
    const bool counts = family.type == prometheus::MetricType::Counter;
    const bool is_histogram = family.type == prometheus::MetricType::Histogram;
    const std::string name = counts ? without_total(family.name) : family.name;
    out += "# HELP " + name + " " + escaped(family.help) + "\n# TYPE " + name + " " +
           (counts         ? "counter"
            : is_histogram ? "histogram"
                           : "gauge") +
           "\n";
    for (const auto& metric : family.metric) {
        if (is_histogram) {
            append_histogram(out, name, metric);
        } else {
            out += name + (counts ? "_total" : "") + labels_of(metric) + " " +
                   number(counts ? metric.counter.value : metric.gauge.value) + "\n";
        }
    }
}

}  // namespace

ServiceMetrics::ServiceMetrics(Registry& registry)
    : connects_(
          &counters(registry, "sync_gateway_database_connects_total", "Database connections made").Add({})),
      losses_(
          &counters(registry, "sync_gateway_database_losses_total", "Database connections lost or not made")
               .Add({})),
      overloads_(&counters(registry, "sync_gateway_database_overloads_total",
                           "Requests for which no database connection became free in time")
                      .Add({})),
      wait_seconds_(seconds(registry, "sync_gateway_database_wait_seconds",
                            "Time that requests wait for a database connection")),
      run_seconds_(seconds(registry, "sync_gateway_database_run_seconds", "Round trips to the database")),
      connections_(prometheus::BuildGauge()
                       .Name("sync_gateway_database_connections")
                       .Help("Database connections, by state")
                       .Register(registry)),
      waiting_(
          gauge(registry, "sync_gateway_database_waiting", "Requests that wait for a database connection")),
      hooks_(counters(registry, "sync_gateway_hooks_total", "Messages to hooks, by outcome")),
      tenants_(gauge(registry, "sync_gateway_watched_tenants", "Tenants of which somebody reads a stream")),
      events_(counters(registry, "sync_gateway_events_total", "Events handed to streams, by kind")),
      overflows_(&counters(registry, "sync_gateway_stream_overflows_total",
                           "Streams that were not read fast enough and lost their events for a reset")
                      .Add({})) {}

void ServiceMetrics::pool(const PgPoolFigures& figures) {
    connections_.Add({{"state", "busy"}}).Set(static_cast<double>(figures.busy));
    connections_.Add({{"state", "idle"}})
        .Set(static_cast<double>(figures.connected - std::min(figures.connected, figures.busy)));
    waiting_->Set(static_cast<double>(figures.waiting));
}

void ServiceMetrics::hook(std::string_view outcome) {
    hooks_.Add({{"outcome", std::string(outcome)}}).Increment();
}

void ServiceMetrics::event_sent(std::string_view kind) {
    events_.Add({{"kind", std::string(kind)}}).Increment();
}

std::string open_metrics_text(const std::vector<prometheus::MetricFamily>& families) {
    std::string out;
    for (const auto& family : families) {
        append_family(out, family);
    }
    return out;
}

}  // namespace sync_engine

// Every metric that the engine counts in shared memory: name, kind, labels, buckets, help.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <iterator>
#include <string_view>

namespace sync_engine {

enum class MetricKind { counter, gauge, histogram };

// Upper bounds of the buckets, ascending; one more bucket, without a bound, takes the rest.
inline constexpr std::size_t kMaxMetricBounds = 15;

struct MetricBounds {
    std::array<double, kMaxMetricBounds> values;
    std::size_t count;
};

struct MetricDefinition {
    std::string_view name;
    MetricKind kind;
    std::string_view label1_name;  // empty: no label
    std::string_view label2_name;
    // The second label is a tenant: past sync_engine.max_metric_tenants of them it becomes 'other'.
    bool label2_is_tenant;
    std::string_view help;
    MetricBounds bounds;  // of a histogram
};

template <std::size_t Count>
constexpr MetricBounds bounds_of(const double (&bounds)[Count]) {
    static_assert(Count <= kMaxMetricBounds);
    MetricBounds result{{}, Count};
    std::copy(std::begin(bounds), std::end(bounds), result.values.begin());
    return result;
}

inline constexpr MetricBounds kNoBounds = {{}, 0};
inline constexpr MetricBounds kJitterBounds =
    bounds_of({1, 5, 15, 30, 60, 90, 120, 180, 300, 600, 1800, 3600, 17280});
inline constexpr MetricBounds kTickMsBounds =
    bounds_of({1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000});
inline constexpr MetricBounds kBackoffBounds =
    bounds_of({1, 5, 10, 20, 40, 80, 160, 320, 640, 900, 1800, 3600, 21600, 86400, 604800});
inline constexpr MetricBounds kRunBounds =
    bounds_of({0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600});
inline constexpr MetricBounds kLagBounds =
    bounds_of({0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600, 21600});

// Ordered by name, which is how one is found. The position of a metric identifies it in shared memory.
inline constexpr MetricDefinition kMetricCatalog[] = {
    {"rate_limited_backoff_seconds", MetricKind::histogram, "", "", false,
     "Seconds that rate-limited jobs were put off", kBackoffBounds},
    {"rate_limited_total", MetricKind::counter, "provider", "", false,
     "Attempts that the remote refused because of its rate limit", kNoBounds},
    {"sync_jobs_claimed_total", MetricKind::counter, "provider_slug", "", false, "Jobs handed to executors",
     kNoBounds},
    {"sync_jobs_failed_total", MetricKind::counter, "provider_slug", "kind", false,
     "Attempts that failed, by kind of failure", kNoBounds},
    {"sync_jobs_succeeded_total", MetricKind::counter, "provider_slug", "", false, "Jobs that succeeded",
     kNoBounds},
    {"sync_notifications_total", MetricKind::counter, "channel", "result", false,
     "Tries to deliver notifications, by channel and result", kNoBounds},
    {"sync_queue_lag_seconds", MetricKind::histogram, "", "", false,
     "Seconds between the time a job was due and its claim", kLagBounds},
    {"sync_run_duration_seconds", MetricKind::histogram, "", "", false,
     "Seconds between the claim of a job and its end", kRunBounds},
    {"sync_scheduler_backlog_gauge", MetricKind::gauge, "", "", false,
     "Active connections that are due and that the last tick left without a live incremental job", kNoBounds},
    {"sync_scheduler_jitter_seconds", MetricKind::histogram, "", "", false, "Jitter added to scheduled runs",
     kJitterBounds},
    {"sync_scheduler_jobs_scheduled_total", MetricKind::counter, "provider_slug", "tenant_id", true,
     "Incremental jobs that ticks enqueued", kNoBounds},
    {"sync_scheduler_tick_duration_ms", MetricKind::histogram, "", "", false, "Milliseconds that ticks took",
     kTickMsBounds},
    {"sync_signals_duplicate_total", MetricKind::counter, "provider_slug", "", false,
     "Signals skipped because their dedupe key had been seen", kNoBounds},
    {"sync_signals_total", MetricKind::counter, "provider_slug", "", false, "Signals stored", kNoBounds},
    {"sync_webhook_delivery_duration_seconds", MetricKind::histogram, "", "", false,
     "Seconds that tries to deliver webhooks took", kRunBounds},
};

inline constexpr int kMetricCount = static_cast<int>(std::size(kMetricCatalog));

constexpr bool metric_before(const MetricDefinition& metric, std::string_view name) {
    return metric.name < name;
}

// The position of a metric in the catalogue, or -1.
constexpr int find_metric(std::string_view name) {
    const auto* found =
        std::lower_bound(std::begin(kMetricCatalog), std::end(kMetricCatalog), name, metric_before);
    return found != std::end(kMetricCatalog) && found->name == name
               ? static_cast<int>(found - std::begin(kMetricCatalog))
               : -1;
}

static_assert(std::is_sorted(std::begin(kMetricCatalog), std::end(kMetricCatalog),
                             [](const MetricDefinition& a, const MetricDefinition& b) {
                                 return a.name < b.name;
                             }));

constexpr std::string_view kind_name(MetricKind kind) {
    return kind == MetricKind::counter ? "counter" : kind == MetricKind::gauge ? "gauge" : "histogram";
}

// The bucket of a value: the first whose bound is not below it.
constexpr std::size_t bucket_of(const MetricBounds& bounds, double value) {
    std::size_t bucket = 0;
    while (bucket < bounds.count && value > bounds.values[bucket]) {
        ++bucket;
    }
    return bucket;
}

}  // namespace sync_engine

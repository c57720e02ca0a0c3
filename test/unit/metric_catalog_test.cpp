// The catalogue of metrics: names, labels and buckets.
#include "extension/metric_catalog.hpp"

#include <limits>
#include <set>
#include <string>

#include <gtest/gtest.h>

namespace sync_engine {
namespace {

TEST(MetricCatalog, FindsEachMetricAndNothingElse) {
    for (int i = 0; i < kMetricCount; ++i) {
        EXPECT_EQ(find_metric(kMetricCatalog[i].name), i);
    }
    for (const char* name : {"", "a", "sync_", "sync_signals", "sync_signals_totals", "zzz"}) {
        EXPECT_EQ(find_metric(name), -1) << name;
    }
}

TEST(MetricCatalog, IsFitForExposition) {
    std::set<std::string> names;
    for (const MetricDefinition& metric : kMetricCatalog) {
        const std::string name(metric.name);
        EXPECT_TRUE(names.insert(name).second) << name;
        EXPECT_FALSE(metric.help.empty()) << name;
        EXPECT_EQ(name.ends_with("_total"), metric.kind == MetricKind::counter) << name;
        EXPECT_EQ(metric.bounds.count > 0, metric.kind == MetricKind::histogram) << name;
        EXPECT_TRUE(metric.label2_name.empty() || !metric.label1_name.empty()) << name;
        for (std::size_t i = 1; i < metric.bounds.count; ++i) {
            EXPECT_LT(metric.bounds.values[i - 1], metric.bounds.values[i]) << name;
        }
    }
}

TEST(MetricCatalog, BoundsBelongToTheirBucket) {
    const MetricBounds& bounds = kJitterBounds;
    EXPECT_EQ(bucket_of(bounds, -5.0), 0u);
    EXPECT_EQ(bucket_of(bounds, 1.0), 0u);
    EXPECT_EQ(bucket_of(bounds, 1.5), 1u);
    EXPECT_EQ(bucket_of(bounds, bounds.values[bounds.count - 1]), bounds.count - 1);
    EXPECT_EQ(bucket_of(bounds, std::numeric_limits<double>::infinity()), bounds.count);
    EXPECT_EQ(bucket_of(kNoBounds, 3.0), 0u);
}

}  // namespace
}  // namespace sync_engine

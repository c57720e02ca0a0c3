#include <gtest/gtest.h>

#include <string>

#include "gateway/operations_endpoint.hpp"
#include "gateway/service_metrics.hpp"

namespace sync_engine {
namespace {

TEST(Operations, AnExtensionThatIsNotOlderIsServed) {
    EXPECT_TRUE(is_served("0.2.0", "0.2.0"));
    EXPECT_TRUE(is_served("0.2.3", "0.2.1"));
    EXPECT_TRUE(is_served("0.2.0", "0.10.0"));
    EXPECT_FALSE(is_served("0.2.0", "0.1.9"));
    EXPECT_FALSE(is_served("0.2.0", "1.2.0"));
    EXPECT_FALSE(is_served("1.0.0", "0.9.0"));
    EXPECT_FALSE(is_served("0.2.0", ""));
    EXPECT_FALSE(is_served("0.2.0", "two"));
    EXPECT_FALSE(is_served("0.2.0", "0."));
}

TEST(Operations, MetricsAreWrittenAsOpenMetricsHasIt) {
    prometheus::Registry registry;
    auto& counted =
        prometheus::BuildCounter().Name("things_total").Help("Things \"all\"\nof them").Register(registry);
    counted.Add({{"kind", "a\"b\\c\nd"}}).Increment(2);
    prometheus::BuildGauge().Name("level").Help("Level").Register(registry).Add({}).Set(-1.5);
    prometheus::BuildHistogram()
        .Name("took_seconds")
        .Help("Took")
        .Register(registry)
        .Add({}, prometheus::Histogram::BucketBoundaries{0.5})
        .Observe(2);
    std::string text = open_metrics_text(registry.Collect());
    for (const char* part : {"# HELP things Things \\\"all\\\"\\nof them\n# TYPE things counter\n"
                             "things_total{kind=\"a\\\"b\\\\c\\nd\"} 2\n",
                             "# HELP level Level\n# TYPE level gauge\nlevel -1.5\n",
                             "# HELP took_seconds Took\n# TYPE took_seconds histogram\n"
                             "took_seconds_bucket{le=\"0.5\"} 0\ntook_seconds_bucket{le=\"+Inf\"} 1\n"
                             "took_seconds_sum 2\ntook_seconds_count 1\n"}) {
        const std::size_t at = text.find(part);
        ASSERT_NE(at, std::string::npos) << part << "\nin\n" << text;
        text.erase(at, std::string_view(part).size());
    }
    EXPECT_EQ(text, "");
}

TEST(Operations, IdleConnectionsAreThoseThatAreNotBusy) {
    prometheus::Registry registry;
    ServiceMetrics metrics(registry);
    metrics.pool({3, 1, 7});
    const std::string text = open_metrics_text(registry.Collect());
    EXPECT_NE(text.find("sync_gateway_database_connections{state=\"busy\"} 1\n"), std::string::npos);
    EXPECT_NE(text.find("sync_gateway_database_connections{state=\"idle\"} 2\n"), std::string::npos);
    EXPECT_NE(text.find("sync_gateway_database_waiting 7\n"), std::string::npos);
}

}  // namespace
}  // namespace sync_engine

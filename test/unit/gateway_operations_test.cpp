#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "gateway/operations_endpoint.hpp"
#include "gateway/service_metrics.hpp"
#include "pg_server_support.hpp"

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

class OperationsEndpointTest : public ::testing::Test {
  protected:
    OperationsEndpointTest() {
        server_.answer([](std::string sql, PgFakeParams) -> boost::asio::awaitable<PgFakeAnswer> {
            PgFakeAnswer answer;
            if (sql.find("gateway_status") != std::string::npos) {
                answer.rows = {{SYNC_ENGINE_VERSION, "t", "t"}};
            } else if (sql.find("gateway_metrics") != std::string::npos) {
                answer.rows = {{"# EOF\n"}};
            } else {
                answer.rows = {{"f"}};
            }
            co_return answer;
        });
    }

    PgPool& pool() {
        if (!pool_) {
            PgPoolOptions options;
            options.connection.url = server_.url();
            options.size = 1;
            options.wait_seconds = 0.05;
            pool_ = std::make_unique<PgPool>(io_.get_executor(), *log_, options, &metrics_);
        }
        return *pool_;
    }

    HttpReply ask(HttpRequest request, OperationsOptions options = {}) {
        if (!endpoint_) {
            hub_ = std::make_unique<LiveHub>(io_.get_executor(), pool(), *log_, metrics_);
            endpoint_ = std::make_unique<OperationsEndpoint>(pool(), *hub_, *log_, metrics_, registry_,
                                                             std::move(options));
        }
        request.method = "GET";
        return result_of_running(io_, endpoint_->handle(std::move(request)));
    }

    HttpReply ready() {
        HttpRequest request;
        request.path = "/readyz";
        return ask(std::move(request));
    }

    bool has_overloaded() {
        return open_metrics_text(registry_.Collect()).find("sync_gateway_database_overloads_total 0\n") ==
               std::string::npos;
    }

    boost::asio::io_context io_{1};
    PgFakeServer server_{io_};
    SilentLog log_;
    prometheus::Registry registry_;
    ServiceMetrics metrics_{registry_};
    std::unique_ptr<PgPool> pool_;
    std::unique_ptr<LiveHub> hub_;
    std::unique_ptr<OperationsEndpoint> endpoint_;
};

TEST_F(OperationsEndpointTest, IsReadyWhileAllConnectionsAreBusy) {
    EXPECT_EQ(ready().body, "{\"status\":\"ready\"}\n");
    auto lease = result_of_running(io_, pool().begin());
    ASSERT_TRUE(lease);
    EXPECT_TRUE(run_until(io_, [&] {
        EXPECT_EQ(ready().status, 200U);
        return has_overloaded();
    }));
    EXPECT_EQ(ready().body, "{\"status\":\"ready\"}\n");
}

TEST_F(OperationsEndpointTest, IsNotReadyBeforeItHasLookedAtTheDatabase) {
    ASSERT_TRUE(run_until(io_, [&] { return pool().figures().connected == 1; }));
    auto lease = result_of_running(io_, pool().begin());
    ASSERT_TRUE(lease);
    const HttpReply reply = ready();
    EXPECT_EQ(reply.status, 503U);
    EXPECT_NE(reply.body.find("the database has not been looked at yet"), std::string::npos) << reply.body;
}

TEST_F(OperationsEndpointTest, IsNotReadyWithAStandbyAndSaysSo) {
    server_.parameters()["in_hot_standby"] = "on";
    pool();
    ASSERT_TRUE(run_until(io_, [&] { return server_.sessions() > 0 && server_.open_sessions() == 0; }));
    const HttpReply reply = ready();
    EXPECT_EQ(reply.status, 503U);
    EXPECT_NE(reply.body.find("\"the server is a standby\""), std::string::npos) << reply.body;
}

TEST_F(OperationsEndpointTest, MetricsAreNotForWhoeverStandsBeforeAProxy) {
    HttpRequest request;
    request.path = "/metrics";
    request.client = "127.0.0.1";
    EXPECT_EQ(ask(request).status, 200U);
    request.hides_client = true;
    EXPECT_EQ(ask(request).status, 403U);
}

TEST_F(OperationsEndpointTest, MetricsMayBeForAProxyThatIsNamed) {
    OperationsOptions options;
    options.scrapers.push_back(parse_address_block("127.0.0.1").value());
    HttpRequest request;
    request.path = "/metrics";
    request.client = "127.0.0.1";
    request.hides_client = true;
    EXPECT_EQ(ask(request, options).status, 200U);
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

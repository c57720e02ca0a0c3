// Many who share some connections to the database.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>

#include "gateway/pg_pool.hpp"
#include "pg_server_support.hpp"

namespace sync_engine {
namespace {

namespace asio = boost::asio;

const std::vector<PgStatement> kQuick{{"SELECT quick", {}}};
const std::vector<PgStatement> kSlow{{"SELECT slow", {}}};

class PgPoolTest : public ::testing::Test {
  protected:
    // What is slow waits for release().
    PgPoolTest() : gate_(io_, asio::steady_timer::time_point::max()) {
        server_.answer([this](std::string sql, PgFakeParams) -> asio::awaitable<PgFakeAnswer> {
            if (sql == "SELECT slow") {
                ++slow_;
                boost::system::error_code released;
                co_await gate_.async_wait(asio::redirect_error(asio::use_awaitable, released));
            }
            PgFakeAnswer answer;
            answer.rows = {{sql}};
            answer.sqlstate = refusal_;
            co_return answer;
        });
    }

    PgPool& pool(std::size_t size, double wait_seconds = 0.2) {
        PgPoolOptions options;
        options.connection.url = server_.url();
        options.size = size;
        options.wait_seconds = wait_seconds;
        pool_ = std::make_unique<PgPool>(io_.get_executor(), *log_, options);
        EXPECT_TRUE(run_until(io_, [&] { return pool_->figures().connected == 1; }));
        return *pool_;
    }

    void start(const std::vector<PgStatement>& pipeline, const std::string& key) {
        asio::co_spawn(io_, pool_->run(pipeline, key), [this](const std::exception_ptr&, PgOutcome outcome) {
            outcomes_.push_back(outcome.status);
        });
    }

    PgOutcome run(const std::string& key = "") { return result_of_running(io_, pool_->run(kQuick, key)); }

    std::ptrdiff_t outcomes(PgOutcome::Status status) const { return std::ranges::count(outcomes_, status); }

    void release() { gate_.expires_at(asio::steady_timer::time_point::min()); }

    asio::io_context io_{1};
    PgFakeServer server_{io_};
    SilentLog log_;
    asio::steady_timer gate_;
    int slow_ = 0;
    std::string refusal_;
    std::vector<PgOutcome::Status> outcomes_;
    std::unique_ptr<PgPool> pool_;
};

TEST_F(PgPoolTest, OneClientsSlowRequestsDoNotKeepOthersOut) {
    pool(4);
    for (int i = 0; i < 20; ++i) {
        start(kSlow, "greedy");
    }
    ASSERT_TRUE(run_until(io_, [&] { return slow_ >= 2; }));
    EXPECT_TRUE(run("other").done());
    EXPECT_TRUE(run("").done());
    EXPECT_EQ(slow_, 2);
    // The others wait as long as anybody would.
    EXPECT_TRUE(run_until(io_, [&] { return outcomes(PgOutcome::Status::overloaded) == 18; }));
    release();
    EXPECT_TRUE(run_until(io_, [&] { return outcomes(PgOutcome::Status::done) == 2; }));
    EXPECT_TRUE(run("greedy").done());
}

TEST_F(PgPoolTest, WhatAClientHasWaitingGoesOnWhenItsTurnIsOver) {
    pool(4, 10);
    for (int i = 0; i < 7; ++i) {
        start(kSlow, "greedy");
    }
    ASSERT_TRUE(run_until(io_, [&] { return slow_ == 2; }));
    release();
    EXPECT_TRUE(run_until(io_, [&] { return outcomes(PgOutcome::Status::done) == 7; }));
}

TEST_F(PgPoolTest, ATransactionCountsUntilItsEnd) {
    PgPool& shared = pool(2);
    auto lease = result_of_running(io_, shared.begin("greedy"));
    ASSERT_TRUE(lease);
    EXPECT_EQ(run("greedy").status, PgOutcome::Status::overloaded);
    EXPECT_TRUE(run("other").done());
    EXPECT_TRUE(result_of_running(io_, lease->commit()).done());
    EXPECT_TRUE(run("greedy").done());
}

TEST_F(PgPoolTest, OneConnectionServesEverybody) {
    pool(1, 10);
    for (int i = 0; i < 5; ++i) {
        start(kQuick, "a");
        start(kQuick, "b");
    }
    EXPECT_TRUE(run_until(io_, [&] { return outcomes(PgOutcome::Status::done) == 10; }));
    EXPECT_EQ(server_.sessions(), 1);
}

TEST_F(PgPoolTest, AClientThatWaitsForItselfOpensNoConnections) {
    pool(8);
    for (int i = 0; i < 20; ++i) {
        start(kSlow, "greedy");
    }
    ASSERT_TRUE(run_until(io_, [&] { return outcomes(PgOutcome::Status::overloaded) == 16; }));
    EXPECT_EQ(server_.sessions(), 4);
    release();
    EXPECT_TRUE(run_until(io_, [&] { return outcomes(PgOutcome::Status::done) == 4; }));
}

TEST_F(PgPoolTest, LeavesAStandbyAsSoonAsItRefusesAChange) {
    pool(2);
    refusal_ = "25006";
    server_.parameters()["in_hot_standby"] = "on";
    EXPECT_EQ(run().sqlstate, "25006");
    refusal_.clear();
    const PgOutcome outcome = run();
    EXPECT_EQ(outcome.status, PgOutcome::Status::lost);
    EXPECT_EQ(outcome.message, kServerIsStandby);
    // Another has taken over, or this one has.
    server_.parameters()["in_hot_standby"] = "off";
    EXPECT_TRUE(run_until(io_, [&] { return pool_->figures().connected > 0; }));
    EXPECT_TRUE(run().done());
}

}  // namespace
}  // namespace sync_engine

// A session with a server that takes no changes is none.
#include <gtest/gtest.h>

#include "gateway/pg_connection.hpp"
#include "pg_server_support.hpp"

namespace sync_engine {
namespace {

class PgSessionTest : public ::testing::Test {
  protected:
    PgSessionTest() {
        settings_.url = server_.url();
        server_.answer(
            [this](std::string, PgFakeParams) -> boost::asio::awaitable<PgFakeAnswer> { co_return answer_; });
    }

    bool connect() { return result_of_running(io_, session_.connect()); }

    PgOutcome run() {
        const std::vector<PgStatement> pipeline{{"SELECT 1", {}}};
        return result_of_running(io_, session_.run(pipeline, true));
    }

    boost::asio::io_context io_{1};
    PgFakeServer server_{io_};
    SilentLog log_;
    PgSettings settings_;
    PgFakeAnswer answer_{{{"1"}}, "", ""};
    PgSession session_{io_.get_executor(), *log_, settings_};
};

TEST_F(PgSessionTest, IsMadeWithAServerThatTakesChanges) {
    server_.parameters()["in_hot_standby"] = "off";
    server_.parameters()["default_transaction_read_only"] = "off";
    EXPECT_TRUE(connect()) << session_.last_error();
    EXPECT_TRUE(run().done());
    EXPECT_TRUE(session_.look());
}

TEST_F(PgSessionTest, IsNotMadeWithAStandby) {
    server_.parameters()["in_hot_standby"] = "on";
    EXPECT_FALSE(connect());
    EXPECT_EQ(session_.last_error(), kServerIsStandby);
    EXPECT_FALSE(session_.connected());
}

TEST_F(PgSessionTest, IsNotMadeWithAStandbyBehindAProxyThatDoesNotTell) {
    server_.in_recovery(true);
    EXPECT_FALSE(connect());
    EXPECT_EQ(session_.last_error(), kServerIsStandby);
}

TEST_F(PgSessionTest, IsNotMadeWhereTransactionsAreReadOnly) {
    server_.parameters()["default_transaction_read_only"] = "on";
    EXPECT_FALSE(connect());
    EXPECT_EQ(session_.last_error(), kServerIsReadOnly);
}

TEST_F(PgSessionTest, EndsWhereTransactionsBecomeReadOnly) {
    ASSERT_TRUE(connect());
    server_.report("default_transaction_read_only", "on");
    EXPECT_TRUE(run().done());
    EXPECT_FALSE(session_.look());
    EXPECT_EQ(session_.last_error(), kServerIsReadOnly);
}

TEST_F(PgSessionTest, EndsAfterAChangeWasRefused) {
    ASSERT_TRUE(connect());
    answer_ = {{}, "25006", "cannot execute UPDATE in a read-only transaction"};
    const PgOutcome outcome = run();
    EXPECT_EQ(outcome.status, PgOutcome::Status::failed);
    EXPECT_EQ(outcome.sqlstate, "25006");
    EXPECT_FALSE(session_.connected());
    EXPECT_EQ(session_.last_error(), kServerIsStandby);
}

}  // namespace
}  // namespace sync_engine

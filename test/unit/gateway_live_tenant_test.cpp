// What the streams of one tenant are told, and when.
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include <boost/asio/co_spawn.hpp>

#include "gateway/live_tenant.hpp"
#include "pg_server_support.hpp"

namespace sync_engine {
namespace {

namespace asio = boost::asio;

class LiveTenantTest : public ::testing::Test {
  protected:
    LiveTenantTest() {
        server_.answer([this](std::string sql, PgFakeParams params) -> asio::awaitable<PgFakeAnswer> {
            PgFakeAnswer answer;
            if (sql.find("begin_request") != std::string::npos) {
                answer = token_;
                ++asked_;
            } else if (sql.find("read_changes") != std::string::npos) {
                answer = changes_after(params.front().value());
            }
            co_return answer;
        });
        PgPoolOptions options;
        options.connection.url = server_.url();
        pool_ = std::make_unique<PgPool>(io_.get_executor(), *log_, options);
        times_.fallback_seconds = 0.01;
        times_.check_seconds = 0.01;
        tenant_ = std::make_unique<LiveTenant>(io_.get_executor(), *pool_, *log_, metrics_, times_, "c-5");
    }

    ~LiveTenantTest() override {
        tenant_->close();
        EXPECT_TRUE(run_until(io_, [this] { return over_; }));
    }

    // One change, of a kind about whose state nothing is asked; c-0 is where the newcomer left off.
    PgFakeAnswer changes_after(const std::string& position) {
        PgFakeAnswer answer;
        if (position == "c-0" && is_past_lost_) {
            answer.sqlstate = "57014";
        } else if (position == "c-0") {
            answer.rows = {{"c-1", "past", std::nullopt, std::nullopt}};
        } else if (position == "c-5") {
            answer.rows = {{"c-6", "new", std::nullopt, std::nullopt}};
        }
        reads_ += position + " ";
        return answer;
    }

    std::shared_ptr<LiveStream> add(const std::string& after) {
        auto stream = std::make_shared<LiveStream>(io_.get_executor(), LiveFilter{}, "token", 3600);
        tenant_->add(stream, after);
        return stream;
    }

    void follow() {
        over_ = false;
        asio::co_spawn(io_, tenant_->follow(), [this](const std::exception_ptr&) { over_ = true; });
    }

    // What a stream has been told so far.
    std::string told(LiveStream& stream) {
        std::string text;
        push_mark(stream);
        while (text.find("event: mark") == std::string::npos) {
            text += result_of_running(io_, stream.next());
        }
        return text;
    }

    static void push_mark(LiveStream& stream) {
        const LiveEvent mark{"", "mark", "", "{}"};
        stream.push(mark, std::make_shared<const std::string>(event_text(mark)));
    }

    bool reads(const std::string& what) {
        return run_until(io_, [&] { return reads_.find(what) != std::string::npos; });
    }

    asio::io_context io_{1};
    PgFakeServer server_{io_};
    SilentLog log_;
    prometheus::Registry registry_;
    ServiceMetrics metrics_{registry_};
    LiveTimes times_;
    PgFakeAnswer token_{{{"acme"}}, "", ""};
    bool is_past_lost_ = false;
    bool over_ = true;
    std::string reads_;
    int asked_ = 0;
    std::unique_ptr<PgPool> pool_;
    std::unique_ptr<LiveTenant> tenant_;
};

TEST_F(LiveTenantTest, WhoComesBackIsToldWhatWasMissedBeforeAnythingElse) {
    is_past_lost_ = true;
    const auto newcomer = add("c-0");
    const auto other = add("");
    follow();
    ASSERT_TRUE(reads("c-5 c-0 c-6"));
    EXPECT_NE(told(*other).find("id: c-6\nevent: new\n"), std::string::npos);
    EXPECT_EQ(told(*newcomer).find("event: new\n"), std::string::npos);
    is_past_lost_ = false;
    reads_.clear();
    ASSERT_TRUE(reads("c-0 c-6 c-6"));
    EXPECT_EQ(told(*newcomer).find("id: c-1\nevent: past\n"), 0U);
}

TEST_F(LiveTenantTest, ATokenThatIsRevokedEndsItsStreams) {
    const auto stream = add("");
    token_ = {{}, "28000", "the token is unknown, expired or revoked"};
    follow();
    EXPECT_TRUE(run_until(io_, [&] { return stream->over(); }));
}

TEST_F(LiveTenantTest, WhatTheGatewayMayNotDoEndsNoStreams) {
    const auto stream = add("");
    token_ = {{}, "42501", "permission denied for function begin_request"};
    follow();
    EXPECT_TRUE(run_until(io_, [&] { return asked_ >= 5; }));
    EXPECT_FALSE(stream->over());
    token_ = {{{"acme"}}, "", ""};
    EXPECT_TRUE(reads("c-5"));
}

}  // namespace
}  // namespace sync_engine

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

#include "gateway/live_stream.hpp"

namespace sync_engine {
namespace {

constexpr double kNoPing = 3600;

LiveEvent event(int number) {
    return {"e-" + std::to_string(number), "job", "5", "{}"};
}

class LiveStreamTest : public ::testing::Test {
  protected:
    std::shared_ptr<LiveStream> stream(double ping_seconds = kNoPing) {
        return std::make_shared<LiveStream>(io_.get_executor(), LiveFilter{}, "token", ping_seconds);
    }

    static bool push(LiveStream& to, const LiveEvent& what) {
        return to.push(what, std::make_shared<const std::string>(event_text(what)));
    }

    void begin_next(LiveStream& of) {
        got_.reset();
        boost::asio::co_spawn(io_, of.next(), [this](const std::exception_ptr& error, std::string text) {
            EXPECT_FALSE(error);
            got_ = std::move(text);
        });
    }

    void turn() {
        io_.restart();
        io_.poll();
    }

    // What comes next, which must be there or come at once.
    std::string next(LiveStream& of) {
        begin_next(of);
        turn();
        EXPECT_TRUE(got_.has_value());
        return got_.value_or("nothing");
    }

    boost::asio::io_context io_{1};
    std::optional<std::string> got_;
};

TEST_F(LiveStreamTest, TellsWhatWaitsAtOnce) {
    const auto some = stream();
    EXPECT_TRUE(push(*some, event(1)));
    EXPECT_TRUE(push(*some, event(2)));
    EXPECT_EQ(next(*some), event_text(event(1)) + event_text(event(2)));
}

TEST_F(LiveStreamTest, WaitsForWhatComes) {
    const auto some = stream();
    begin_next(*some);
    turn();
    EXPECT_FALSE(got_);
    push(*some, event(1));
    turn();
    EXPECT_EQ(got_, event_text(event(1)));
}

TEST_F(LiveStreamTest, TooManyEventsBecomeAReset) {
    const auto some = stream();
    for (int i = 1; i <= static_cast<int>(LiveStream::kMaxEvents); ++i) {
        EXPECT_TRUE(push(*some, event(i)));
    }
    EXPECT_FALSE(push(*some, event(257)));
    EXPECT_TRUE(push(*some, event(258)));
    EXPECT_EQ(next(*some), event_text(reset_event("e-257")) + event_text(event(258)));
}

TEST_F(LiveStreamTest, SoDoTooManyBytes) {
    const auto some = stream();
    LiveEvent large = event(1);
    large.data = std::string(LiveStream::kMaxBytes / 2, 'x');
    EXPECT_TRUE(push(*some, large));
    EXPECT_FALSE(push(*some, large));
    EXPECT_EQ(next(*some), event_text(reset_event("e-1")));
    EXPECT_TRUE(push(*some, large));
}

TEST_F(LiveStreamTest, PingsWhereItIsQuiet) {
    const auto some = stream(0.01);
    some->reached("e-9");
    begin_next(*some);
    io_.restart();
    io_.run_for(std::chrono::seconds(20));
    EXPECT_EQ(got_, ": ping\nid: e-9\n\n");
}

TEST_F(LiveStreamTest, EndsAfterItHasSaidWhy) {
    const auto some = stream();
    push(*some, event(1));
    some->end("revoked");
    EXPECT_TRUE(some->over());
    EXPECT_TRUE(push(*some, event(2)));
    EXPECT_EQ(next(*some), event_text(event(1)) + end_text("revoked"));
    EXPECT_EQ(next(*some), "");
}

TEST_F(LiveStreamTest, EndsQuietlyWhereTheClientMayGoElsewhere) {
    const auto some = stream();
    begin_next(*some);
    turn();
    some->finish();
    turn();
    EXPECT_EQ(got_, "");
}

TEST_F(LiveStreamTest, AClientThatIsGoneEndsTheWait) {
    const auto some = stream();
    begin_next(*some);
    turn();
    some->closed();
    turn();
    EXPECT_EQ(got_, "");
    EXPECT_TRUE(some->over());
    EXPECT_TRUE(push(*some, event(1)));
    EXPECT_EQ(next(*some), "");
}

}  // namespace
}  // namespace sync_engine

#include <gtest/gtest.h>

#include "connectors/rate_limit.hpp"
#include "core/time.hpp"

namespace sync_engine {
namespace {

const TimestampUs kNow = *parse_utc("2026-03-01T12:00:00Z");  // 1772366400 of the Unix epoch

RateLimit read(const Headers& headers) {
    return read_rate_limit(headers, kNow);
}

TEST(RateLimit, NothingIsSaid) {
    const RateLimit limit = read({{"Content-Type", "text/plain"}});
    EXPECT_FALSE(limit.wait_seconds());
    EXPECT_FALSE(limit.exhausted());
    EXPECT_EQ(rate_limit_json(limit), "");
}

TEST(RateLimit, RetryAfterBeatsTheRest) {
    const RateLimit limit =
        read({{"RateLimit", "\"p\";r=0;t=500"}, {"X-RateLimit-Reset", "900"}, {"retry-after", "7"}});
    EXPECT_EQ(limit.wait_seconds(), 7.0);
    EXPECT_EQ(limit.reset_seconds, 500.0);
    EXPECT_TRUE(limit.exhausted());
    EXPECT_EQ(read({{"Retry-After", "Sun, 01 Mar 2026 12:01:30 GMT"}}).wait_seconds(), 90.0);
    EXPECT_EQ(read({{"Retry-After", "Sun, 01 Mar 2026 11:00:00 GMT"}}).wait_seconds(), 0.0);
}

TEST(RateLimit, MalformedRetryAfterIsIgnored) {
    for (const char* text : {"", "soon", "-5", "nan", "inf", "1e999", "5 seconds", "0x10",
                             "Sun, 99 Xxx 2026 12:00:00 GMT", "2026-03-01T12:01:00Z"}) {
        EXPECT_EQ(read({{"Retry-After", text}, {"RateLimit-Remaining", "0"}, {"RateLimit-Reset", "4"}})
                      .wait_seconds(),
                  4.0)
            << text;
    }
}

TEST(RateLimit, StructuredFieldTakesTheWorstPolicy) {
    RateLimit limit = read({{"RateLimit", "\"burst\";r=50;t=1, \"hour\";r=3;t=1800 , \"day\";r=3;t=9000"}});
    EXPECT_EQ(limit.remaining, 3.0);
    EXPECT_EQ(limit.reset_seconds, 9000.0);
    EXPECT_EQ(limit.source, "RateLimit");
    limit = read({{"RateLimit", "default;r=5;pk=:abc=:"}});
    EXPECT_EQ(limit.remaining, 5.0);
    limit = read({{"RateLimit", "a;r=9;t=1"}, {"ratelimit", "\"q;,\\\"\";r=0;t=2;x"}});
    EXPECT_EQ(limit.remaining, 0.0);
    EXPECT_EQ(limit.reset_seconds, 2.0);
    limit = read({{"RateLimit", "limit=100, remaining=0, reset=12"}});  // earlier drafts
    EXPECT_EQ(limit.remaining, 0.0);
    EXPECT_EQ(limit.limit, 100.0);
    EXPECT_EQ(limit.wait_seconds(), 12.0);
}

TEST(RateLimit, MalformedFieldFallsThrough) {
    for (const char* text : {"", ",", "\"a", "\"a\";r", "\"a\";r=", "\"a\";r=-1;t=5", "\"a\";r=x;t=5",
                             "\"a\" r=0;t=5", "\"a\";;r=0", "\"a\";r=0;t=5,", ";r=0", "limit=", "\"a\\",
                             "(a b);r=0", "\"a\";t=5", "a;pk=:abc;r=0"}) {
        const RateLimit limit =
            read({{"RateLimit", text}, {"RateLimit-Remaining", "8"}, {"RateLimit-Reset", "30"}});
        EXPECT_EQ(limit.source, "RateLimit-Remaining") << text;
        EXPECT_EQ(limit.remaining, 8.0) << text;
    }
}

TEST(RateLimit, PlainHeadersBeatTheOlderOnes) {
    RateLimit limit = read({{"X-RateLimit-Remaining", "1"},
                            {"X-RateLimit-Reset", "60"},
                            {"RateLimit-Remaining", "0"},
                            {"RateLimit-Reset", "30"},
                            {"RateLimit-Limit", "100"}});
    EXPECT_EQ(limit.remaining, 0.0);
    EXPECT_EQ(limit.reset_seconds, 30.0);
    EXPECT_EQ(limit.limit, 100.0);
    limit =
        read({{"X-RateLimit-Remaining", "0"}, {"RateLimit-Remaining", "many"}, {"X-Ratelimit-Reset", "60"}});
    EXPECT_EQ(limit.source, "X-RateLimit-Remaining");
    EXPECT_EQ(limit.reset_seconds, 60.0);
}

TEST(RateLimit, ResetAsATime) {
    EXPECT_EQ(read({{"X-RateLimit-Reset", "1772366430"}}).reset_seconds, 30.0);
    EXPECT_EQ(read({{"X-RateLimit-Reset", "1772366430500"}}).reset_seconds, 30.5);
    EXPECT_EQ(read({{"X-RateLimit-Reset", "1500000000"}}).reset_seconds, 0.0);
    EXPECT_EQ(read({{"X-RateLimit-Reset", "1000000000"}}).reset_seconds, 1e9);  // not above: seconds
    EXPECT_FALSE(read({{"X-RateLimit-Reset", "tomorrow"}}).reset_seconds);
}

TEST(RateLimit, StatsText) {
    EXPECT_EQ(rate_limit_json(read({{"X-RateLimit-Remaining", "4999"},
                                    {"X-RateLimit-Limit", "5000"},
                                    {"X-RateLimit-Reset", "1772366430"},
                                    {"Retry-After", "1.5"}})),
              R"({"remaining":4999,"limit":5000,"reset_seconds":30,"retry_after_seconds":1.5})");
}

}  // namespace
}  // namespace sync_engine

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "executor/store.hpp"
#include "unit/pg_result_support.hpp"

namespace sync_engine {
namespace {

TEST(Store, ReadsClaims) {
    const auto result = result_of({"job_id", "claim_token", "tenant_id", "connection_id", "provider_slug",
                                   "job_type", "attempts", "cursor", "input", "connector", "config"},
                                  {{"7", "tok", "acme", "9", "github", "incremental", "2", R"({"page":1})",
                                    std::nullopt, "http", R"({"base_url":"x"})"}});
    const auto jobs = parse_claim(result.get());
    ASSERT_EQ(jobs.size(), 1U);
    EXPECT_EQ(jobs[0].job.job_id, 7);
    EXPECT_EQ(jobs[0].claim_token, "tok");
    EXPECT_EQ(jobs[0].job.tenant_id, "acme");
    EXPECT_EQ(jobs[0].job.connection_id, 9);
    EXPECT_EQ(jobs[0].job.attempts, 2);
    EXPECT_EQ(jobs[0].job.cursor_json, R"({"page":1})");
    EXPECT_EQ(jobs[0].job.input_json, "");
    EXPECT_EQ(jobs[0].job.connector, "http");
}

TEST(Store, AnAnswerOfTheWrongShapeIsAnError) {
    EXPECT_THROW(parse_claim(result_of({"job_id"}, {{"x"}}).get()), std::runtime_error);
    EXPECT_THROW(parse_registration(result_of({"a", "b"}, {}).get()), std::runtime_error);
    EXPECT_THROW(parse_next_claim(result_of({"a"}, {{"soon"}}).get()), std::runtime_error);
    EXPECT_THROW(parse_boolean(result_of({"a", "b"}, {{"t", "t"}}).get()), std::runtime_error);
}

TEST(Store, ReadsTheOtherAnswers) {
    const auto registration = parse_registration(result_of({"a", "b"}, {{"me#1", "60"}}).get());
    EXPECT_EQ(registration.incarnation, "me#1");
    EXPECT_EQ(registration.lease_seconds, 60);
    EXPECT_FALSE(parse_registration(result_of({"a", "b"}, {{"me#1", std::nullopt}}).get()).lease_seconds);
    EXPECT_EQ(parse_next_claim(result_of({"a"}, {{"-0.25"}}).get()), -0.25);
    EXPECT_FALSE(parse_next_claim(result_of({"a"}, {{std::nullopt}}).get()));
    EXPECT_EQ(parse_cancelled(result_of({"a", "b"}, {{"3", "cancel"}, {"4", "later"}}).get()),
              (std::vector<std::int64_t>{3}));
    const auto outcomes = parse_outcomes(
        result_of({"a", "b", "c"}, {{"1", "completed", std::nullopt}, {std::nullopt, "rejected", "x"}})
            .get());
    ASSERT_EQ(outcomes.size(), 1U);
    EXPECT_EQ(outcomes[0].outcome, "completed");
    const auto tick = parse_tick(
        result_of({"a", "b", "c", "d", "e", "f"}, {{"5", "1", "2", std::nullopt, "0.5", "t"}}).get());
    EXPECT_EQ(tick.enqueued, 5);
    EXPECT_EQ(tick.backlog, 0);
    EXPECT_TRUE(tick.more);
}

TEST(Store, WritesArrays) {
    EXPECT_EQ(heartbeat_statement("me#1", {}).params[1], "{}");
    EXPECT_EQ(heartbeat_statement("me#1", {1, -2}).params[1], "{1,-2}");
    const Statement release = release_statement("me#1", {1, 2}, {"a", "b"});
    EXPECT_EQ(release.params[1], "{1,2}");
    EXPECT_EQ(release.params[2], "{a,b}");
}

TEST(Store, TellsPassingTroubleFromBadData) {
    for (const char* state : {"22P02", "22P05", "22003", "23503", "54001", "XX000"}) {
        EXPECT_EQ(classify_sqlstate(state), SqlTrouble::bad_data) << state;
    }
    for (const char* state :
         {"40001", "40P01", "55P03", "57014", "57P01", "53300", "42883", "42501", "3F000", ""}) {
        EXPECT_EQ(classify_sqlstate(state), SqlTrouble::passing) << state;
    }
    EXPECT_EQ(classify_sqlstate("55000"), SqlTrouble::superseded);
    EXPECT_EQ(classify_sqlstate("0A000"), SqlTrouble::superseded);
    EXPECT_EQ(classify_sqlstate("25006"), SqlTrouble::read_only);
}

}  // namespace
}  // namespace sync_engine

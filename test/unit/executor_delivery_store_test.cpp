#include "executor/delivery_store.hpp"

#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "unit/pg_result_support.hpp"

namespace sync_engine {
namespace {

const std::vector<std::string> kColumns{"delivery_id", "claim_token", "tenant_id",  "notification_id",
                                        "channel",     "recipient",   "message_id", "attempt",
                                        "payload",     "secrets",     "unsubscribe"};

TEST(DeliveryStore, ReadsClaims) {
    const auto result =
        result_of(kColumns, {{"7", "tok", "acme", "5", "webhook", "https://h.example/", "msg_1", "2",
                              R"({"a": 1})", "whsec_AAA= whsec_B+/", std::nullopt},
                             {"8", "tok2", "acme", std::nullopt, "email", "a@b.example", "msg_2", "1", "{}",
                              std::nullopt, "unsub"}});
    const auto claimed = parse_claimed_deliveries(result.get());
    ASSERT_EQ(claimed.size(), 2U);
    EXPECT_EQ(claimed[0].delivery.delivery_id, 7);
    EXPECT_EQ(claimed[0].claim_token, "tok");
    EXPECT_EQ(claimed[0].delivery.notification_id, 5);
    EXPECT_EQ(claimed[0].delivery.channel, "webhook");
    EXPECT_EQ(claimed[0].delivery.recipient, "https://h.example/");
    EXPECT_EQ(claimed[0].delivery.attempt, 2);
    EXPECT_EQ(claimed[0].delivery.payload, R"({"a": 1})");
    EXPECT_EQ(claimed[0].delivery.secrets, (std::vector<std::string>{"whsec_AAA=", "whsec_B+/"}));
    EXPECT_EQ(claimed[0].delivery.unsubscribe, "");
    EXPECT_TRUE(claimed[1].delivery.secrets.empty());
    EXPECT_EQ(claimed[1].delivery.unsubscribe, "unsub");
}

TEST(DeliveryStore, AnAnswerOfTheWrongShapeIsAnError) {
    EXPECT_THROW(parse_claimed_deliveries(result_of({"delivery_id"}, {{"x"}}).get()), std::runtime_error);
    EXPECT_THROW(parse_next_delivery(result_of({"a"}, {{"soon"}}).get()), std::runtime_error);
}

TEST(DeliveryStore, ReadsTheOtherAnswers) {
    EXPECT_EQ(parse_next_delivery(result_of({"n"}, {{"-0.5"}}).get()), -0.5);
    EXPECT_EQ(parse_next_delivery(result_of({"n"}, {{std::nullopt}}).get()), std::nullopt);
    const auto answers = parse_delivery_answers(
        result_of(
            {"delivery_id", "outcome", "detail"},
            {{"7", "retried", std::nullopt}, {std::nullopt, "rejected", "no id"}, {"8", "stale", "why"}})
            .get());
    ASSERT_EQ(answers.size(), 2U);
    EXPECT_EQ(answers[0].outcome, "retried");
    EXPECT_EQ(answers[1].delivery_id, 8);
    EXPECT_EQ(answers[1].detail, "why");
}

TEST(DeliveryStore, ClaimsMailsOnlyWhereTheyCanBeSent) {
    EXPECT_EQ(claim_deliveries_statement("me", 16, true).params,
              (std::vector<std::optional<std::string>>{"me", "16", "{email,webhook}"}));
    EXPECT_EQ(claim_deliveries_statement("me", 1, false).params.back(), "{webhook}");
    EXPECT_EQ(next_delivery_statement(false).params.front(), "{webhook}");
    EXPECT_EQ(release_deliveries_statement("me", {1, 2}, {"a", "b"}).params,
              (std::vector<std::optional<std::string>>{"me", "{1,2}", "{a,b}"}));
}

TEST(DeliveryStore, KnowsAnExtensionWithoutNotifications) {
    EXPECT_TRUE(lacks_deliveries("42883"));
    EXPECT_FALSE(lacks_deliveries("42501"));
}

}  // namespace
}  // namespace sync_engine

#include "executor/delivery_results.hpp"

#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <rapidjson/document.h>

#include "core/utf8.hpp"

namespace sync_engine {
namespace {

FinishedDelivery finished(std::int64_t id, DeliveryOutcome outcome = {}) {
    return {id, "token-" + std::to_string(id), std::move(outcome), 0.25};
}

std::vector<std::int64_t> ids(const DeliveryBatch& batch) {
    std::vector<std::int64_t> out;
    for (const FinishedDelivery& one : batch) {
        out.push_back(one.delivery_id);
    }
    return out;
}

using Ids = std::vector<std::int64_t>;

rapidjson::Document parsed(const DeliveryBatch& batch) {
    rapidjson::Document document;
    document.Parse<rapidjson::kParseValidateEncodingFlag>(delivery_results_json(batch));
    EXPECT_FALSE(document.HasParseError());
    return document;
}

TEST(DeliveryResultsJson, IsWhatTheContractSays) {
    DeliveryOutcome delivered{DeliveryResult::delivered, 204, "", "", std::nullopt, ""};
    DeliveryOutcome failed{DeliveryResult::failed, 503, "status", "said no", 12.5, "busy"};
    EXPECT_EQ(
        delivery_results_json({finished(1, delivered), finished(2, failed)}),
        R"([{"delivery_id":1,"claim_token":"token-1","outcome":"delivered","duration_ms":250.000,"status":204},)"
        R"({"delivery_id":2,"claim_token":"token-2","outcome":"failed","duration_ms":250.000,"status":503,)"
        R"("error_code":"status","error":"said no","retry_after_seconds":12.500,"reply":"busy"}])");
    EXPECT_EQ(delivery_results_json({}), "[]");
}

TEST(DeliveryResultsJson, NamesEveryResult) {
    for (const auto& [result, name] :
         std::vector<std::pair<DeliveryResult, std::string>>{{DeliveryResult::delivered, "delivered"},
                                                             {DeliveryResult::failed, "failed"},
                                                             {DeliveryResult::refused, "refused"},
                                                             {DeliveryResult::gone, "gone"}}) {
        DeliveryOutcome outcome;
        outcome.result = result;
        EXPECT_EQ(parsed({finished(1, outcome)})[0]["outcome"].GetString(), name);
    }
}

TEST(DeliveryResultsJson, TextsAreBoundedAndWhatJsonbTakes) {
    DeliveryOutcome outcome;
    outcome.error = std::string(1'000'000, 'x');
    outcome.reply = std::string(5000, '\xFF') + std::string(1, '\0');
    const auto document = parsed({finished(1, outcome)});
    EXPECT_LE(document[0]["error"].GetStringLength(), 1000U);
    EXPECT_LE(document[0]["reply"].GetStringLength(), kReplyBytes);
    EXPECT_GE(document[0]["reply"].GetStringLength(), kReplyBytes - 3);
    outcome.reply = "a" + std::string(1, '\0') + "\xED\xA0\x80\xF0\x9F\x98\x80";
    EXPECT_EQ(std::string(parsed({finished(1, outcome)})[0]["reply"].GetString()),
              "a\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xF0\x9F\x98\x80");
    outcome.reply = std::string(1022, 'a') + "\xE2\x82\xAC";
    EXPECT_EQ(parsed({finished(1, outcome)})[0]["reply"].GetStringLength(), 1022U);
}

TEST(DeliveryResultsJson, NumbersThatAreNoneAreZero) {
    DeliveryOutcome outcome;
    outcome.retry_after_seconds = std::numeric_limits<double>::infinity();
    FinishedDelivery one = finished(1, outcome);
    one.seconds = std::numeric_limits<double>::quiet_NaN();
    const auto document = parsed({one});
    EXPECT_EQ(document[0]["duration_ms"].GetDouble(), 0);
    EXPECT_EQ(document[0]["retry_after_seconds"].GetDouble(), 0);
    EXPECT_FALSE(document[0].HasMember("status"));
}

TEST(DeliveryResultQueue, CutsBatches) {
    DeliveryResultQueue queue(3);
    for (int i = 1; i <= 7; ++i) {
        EXPECT_EQ(queue.full(), i > 3);
        queue.push(finished(i));
    }
    EXPECT_EQ(queue.size(), 7U);
    EXPECT_EQ(ids(queue.pop()), (Ids{1, 2, 3}));
    EXPECT_EQ(ids(queue.pop()), (Ids{4, 5, 6}));
    EXPECT_EQ(ids(queue.pop()), (Ids{7}));
    EXPECT_TRUE(queue.pop().empty());
    EXPECT_TRUE(queue.empty());
}

TEST(DeliveryResultQueue, WhatIsInDoubtComesFirstAndAsItWas) {
    DeliveryResultQueue queue(2);
    queue.push(finished(1));
    queue.push_again({finished(8), finished(9), finished(10)});
    EXPECT_TRUE(queue.in_doubt());
    EXPECT_EQ(queue.size(), 4U);
    EXPECT_EQ(ids(queue.pop()), (Ids{8, 9, 10}));
    EXPECT_FALSE(queue.in_doubt());
    EXPECT_EQ(ids(queue.pop()), (Ids{1}));
}

TEST(DeliveryResultQueue, HalvesUntilTheBadOneStandsAlone) {
    DeliveryResultQueue queue(8);
    queue.push_halves({finished(1), finished(2), finished(3), finished(4), finished(5)});
    EXPECT_EQ(ids(queue.pop()), (Ids{1, 2}));
    queue.push_halves(queue.pop());
    EXPECT_EQ(ids(queue.pop()), (Ids{3}));
    EXPECT_EQ(ids(queue.pop()), (Ids{4, 5}));
    EXPECT_TRUE(queue.empty());
}

TEST(DeliveryReplacement, IsAPlainFailureOfTheSameDelivery) {
    DeliveryOutcome outcome{DeliveryResult::refused, 550, "smtp", "said no", 3, "nasty"};
    const FinishedDelivery original = finished(4, outcome);
    const FinishedDelivery replacement = replacement_for(original);
    EXPECT_FALSE(is_replacement(original));
    EXPECT_TRUE(is_replacement(replacement));
    EXPECT_EQ(replacement.delivery_id, 4);
    EXPECT_EQ(replacement.claim_token, "token-4");
    EXPECT_EQ(replacement.outcome.result, DeliveryResult::failed);
    EXPECT_EQ(replacement.outcome.reply, "");
}

}  // namespace
}  // namespace sync_engine

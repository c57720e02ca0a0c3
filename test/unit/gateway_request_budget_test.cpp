// Requests of tokens that were taken ahead from the database.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "gateway/api/request_budget.hpp"

namespace sync_engine {
namespace {

TEST(RequestBudgets, AsksForOneWhileTheLimitIsNotKnown) {
    RequestBudgets budgets;
    EXPECT_EQ(budgets.wanted("a", 100), 1);
    EXPECT_FALSE(budgets.use("b", 100).limit.has_value());
}

TEST(RequestBudgets, UsesUpWhatWasGranted) {
    RequestBudgets budgets;
    budgets.granted("a", {600, 2, 597, 160});
    EXPECT_EQ(budgets.wanted("a", 100), 0);
    const BudgetState first = budgets.use("a", 100);
    EXPECT_TRUE(first.allowed);
    EXPECT_EQ(first.remaining, 598);
    EXPECT_EQ(first.reset_seconds, 60);
    EXPECT_TRUE(budgets.use("a", 101).allowed);
    EXPECT_FALSE(budgets.use("a", 101).allowed);
    EXPECT_EQ(budgets.wanted("a", 101), 10);  // a second's share
}

TEST(RequestBudgets, WhatWasGrantedEndsWithItsMinute) {
    RequestBudgets budgets;
    budgets.granted("a", {600, 10, 0, 160});
    EXPECT_TRUE(budgets.use("a", 159).allowed);
    EXPECT_FALSE(budgets.use("a", 160).allowed);
    EXPECT_EQ(budgets.wanted("a", 160), 10);
    budgets.granted("a", {600, 3, 0, 220});
    EXPECT_EQ(budgets.use("a", 161).remaining, 2);
}

TEST(RequestBudgets, TakesAtLeastOneAndAtMostAHundred) {
    RequestBudgets budgets;
    budgets.granted("a", {5, 0, 0, 160});
    EXPECT_EQ(budgets.wanted("a", 100), 1);
    budgets.granted("a", {1000000, 0, 0, 160});
    EXPECT_EQ(budgets.wanted("a", 100), 100);
}

TEST(RequestBudgets, OfATokenWithoutLimitIsAskedOnceAMinute) {
    RequestBudgets budgets;
    budgets.granted("a", {std::nullopt, 1, 0, 160});
    for (int i = 0; i < 1000; ++i) {
        EXPECT_EQ(budgets.wanted("a", 100), 0);
        EXPECT_TRUE(budgets.use("a", 100).allowed);
    }
    EXPECT_EQ(budgets.wanted("a", 160), 1);
}

// Requests of a token that is allowed 600 a minute, in seconds `from`..`to` of the database's clock; how many
// are refused. The database grants what there is left of each minute.
int refused_of(RequestBudgets& budgets, std::int64_t from, std::int64_t to, std::int64_t ahead,
               std::int64_t each_second) {
    static constexpr std::int64_t limit = 600;
    int refused = 0;
    std::int64_t used = 0;
    for (std::int64_t second = from; second < to; ++second) {
        used = second % 60 == 0 ? 0 : used;
        for (std::int64_t i = 0; i < each_second; ++i) {
            const std::int64_t wanted = budgets.wanted("a", second + ahead);
            if (wanted > 0) {
                const std::int64_t granted = std::min(wanted, limit - used);
                used += granted;
                budgets.granted("a", {limit, granted, limit - used, second / 60 * 60 + 60});
            }
            refused += budgets.use("a", second + ahead).allowed ? 0 : 1;
        }
    }
    return refused;
}

TEST(RequestBudgets, ClocksThatDifferRefuseNobody) {
    for (const std::int64_t ahead : {0, 1, 5, 59, 60, 61, 90, 86400, -1, -5, -59, -60, -90, -86400}) {
        RequestBudgets budgets;
        EXPECT_EQ(refused_of(budgets, 6000, 6300, ahead, 9), 0) << ahead;
    }
}

TEST(RequestBudgets, ABurstFindsTheMinuteWholeOnceTheClocksAreKnown) {
    for (const std::int64_t ahead : {0, 5, 90, -5, -90}) {
        RequestBudgets budgets;
        refused_of(budgets, 6000, 6120, ahead, 1);
        EXPECT_EQ(refused_of(budgets, 6120, 6121, ahead, 600), 0) << ahead;
    }
}

TEST(RequestBudgets, WhatIsSoonOverIsStillOfItsRequest) {
    RequestBudgets budgets;
    budgets.granted("a", {600, 10, 590, 160});
    // Asked for at 159, answered at 160.
    EXPECT_TRUE(budgets.use("a", 160).allowed);
    budgets.granted("a", {600, 0, 0, 160});
    budgets.wanted("a", 170);
    EXPECT_FALSE(budgets.use("a", 170).allowed);
}

TEST(RequestBudgets, AClockThatIsSetIsLearntAnew) {
    RequestBudgets budgets;
    EXPECT_EQ(refused_of(budgets, 6000, 6120, 0, 9), 0);
    EXPECT_EQ(refused_of(budgets, 6120, 6240, 3600, 9), 0);
    EXPECT_EQ(refused_of(budgets, 6240, 6360, 0, 9), 0);
    budgets.wanted("a", 6359);
    EXPECT_LE(budgets.use("a", 6359).reset_seconds, 60);
}

TEST(RequestBudgets, SaysWhenTheMinuteIsOverByTheDatabasesClock) {
    RequestBudgets budgets;
    refused_of(budgets, 6000, 6120, 90, 9);
    budgets.granted("b", {600, 1, 0, 6180});
    EXPECT_EQ(budgets.use("b", 6130 + 90).reset_seconds, 50);
}

TEST(RequestBudgets, ForgetsTokensOneByOne) {
    RequestBudgets budgets;
    budgets.granted("first", {600, 10, 0, 160});
    for (int i = 0; i < 10000; ++i) {
        budgets.granted(std::to_string(i), {600, 10, 0, 160});
    }
    EXPECT_EQ(budgets.wanted("first", 100), 1);
    EXPECT_EQ(budgets.wanted("9999", 100), 0);
    budgets.forget("9999");
    EXPECT_EQ(budgets.wanted("9999", 100), 1);
}

}  // namespace
}  // namespace sync_engine

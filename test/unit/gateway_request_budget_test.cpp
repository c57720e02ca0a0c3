// Requests of tokens that were taken ahead from the database.
#include <gtest/gtest.h>

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

#include "core/empty_runs.hpp"

#include <limits>

#include <gtest/gtest.h>

namespace sync_engine {
namespace {

TEST(EmptyRuns, AreOddAtOnceWhereThereWereAlwaysRecords) {
    EXPECT_TRUE(empty_runs_are_odd({1000, 0}, 1));
    EXPECT_FALSE(empty_runs_are_odd({50, 0}, 1));
    EXPECT_TRUE(empty_runs_are_odd({50, 0}, 2));
}

TEST(EmptyRuns, AreOddLaterWhereEveryOtherRunIsEmpty) {
    EXPECT_FALSE(empty_runs_are_odd({50, 50}, 9));
    EXPECT_TRUE(empty_runs_are_odd({50, 50}, 10));
}

TEST(EmptyRuns, AreOrdinaryWhereTheyMostlyAre) {
    EXPECT_FALSE(empty_runs_are_odd({5, 195}, 100));
    EXPECT_TRUE(empty_runs_are_odd({5, 195}, 300));
}

TEST(EmptyRuns, AreNotJudgedBeforeSomethingIsKnown) {
    EXPECT_FALSE(empty_runs_are_odd({4, 0}, 1000));
    EXPECT_FALSE(empty_runs_are_odd({0, 0}, 1000));
    EXPECT_FALSE(empty_runs_are_odd({100, 0}, 0));
    EXPECT_FALSE(empty_runs_are_odd({-3, -7}, 5));
}

TEST(EmptyRuns, SurviveAnyNumbers) {
    constexpr auto kMost = std::numeric_limits<std::int64_t>::max();
    EXPECT_TRUE(empty_runs_are_odd({kMost, 0}, kMost));
    // A chance so near to one that it rounds to it says nothing.
    EXPECT_FALSE(empty_runs_are_odd({5, kMost}, 1));
}

}  // namespace
}  // namespace sync_engine

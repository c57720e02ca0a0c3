// How long a failed job waits.
#include "core/backoff.hpp"

#include <cstdint>
#include <limits>

#include <gtest/gtest.h>

namespace sync_engine {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

double with_defaults(std::int32_t attempts, std::optional<double> hint = std::nullopt) {
    return backoff_seconds(attempts, 5, 900, hint);
}

TEST(Backoff, DoublesUpToTheMaximum) {
    const double expected[] = {5, 10, 20, 40, 80, 160, 320, 640, 900, 900};
    for (int attempts = 0; attempts < 10; ++attempts) {
        EXPECT_EQ(with_defaults(attempts), expected[attempts]) << attempts;
    }
}

TEST(Backoff, ClampsTheExponent) {
    EXPECT_EQ(with_defaults(62), 900);
    EXPECT_EQ(with_defaults(63), 900);
    EXPECT_EQ(with_defaults(1'024), 900);
    EXPECT_EQ(with_defaults(INT32_MAX), 900);
    EXPECT_EQ(with_defaults(-1), 5);
    EXPECT_EQ(with_defaults(INT32_MIN), 5);
}

TEST(Backoff, HintIsALowerLimit) {
    EXPECT_EQ(with_defaults(0, 120), 120);
    EXPECT_EQ(with_defaults(0, 4.5), 5);
    EXPECT_EQ(with_defaults(0, 5.5), 5.5);
    EXPECT_EQ(with_defaults(8, 120), 900);
    EXPECT_EQ(with_defaults(0, 0), 5);
}

TEST(Backoff, HintMayExceedTheMaximumButNotAWeek) {
    EXPECT_EQ(with_defaults(0, 3'600), 3'600);
    EXPECT_EQ(with_defaults(0, 604'800), 604'800);
    EXPECT_EQ(with_defaults(0, 604'800.5), 604'800);
    EXPECT_EQ(with_defaults(0, 1e300), 604'800);
    EXPECT_EQ(with_defaults(0, kInfinity), 604'800);
}

TEST(Backoff, IgnoresNonsensicalHints) {
    EXPECT_EQ(with_defaults(1, kNaN), 10);
    EXPECT_EQ(with_defaults(1, -1), 10);
    EXPECT_EQ(with_defaults(1, -kInfinity), 10);
}

TEST(Backoff, NonsensicalBaseAndMaximumBecomeTheDefaults) {
    EXPECT_EQ(backoff_seconds(1, kNaN, kNaN, std::nullopt), 10);
    EXPECT_EQ(backoff_seconds(20, kNaN, kNaN, std::nullopt), 900);
    EXPECT_EQ(backoff_seconds(1, -5, -900, std::nullopt), 10);
    EXPECT_EQ(backoff_seconds(3, 1, kInfinity, std::nullopt), 8);
    EXPECT_EQ(backoff_seconds(INT32_MAX, 604'800, 604'800, std::nullopt), 604'800);
    EXPECT_EQ(backoff_seconds(INT32_MAX, kInfinity, 900, std::nullopt), 900);
}

TEST(Backoff, NeverShrinksWithMoreAttempts) {
    double previous = 0;
    for (int attempts = -5; attempts < 200; ++attempts) {
        const double seconds = backoff_seconds(attempts, 0.3, 86'400, std::nullopt);
        EXPECT_GE(seconds, previous);
        previous = seconds;
    }
}

}  // namespace
}  // namespace sync_engine

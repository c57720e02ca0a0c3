#include "core/delivery_retry.hpp"

#include <cmath>
#include <limits>
#include <numeric>

#include <gtest/gtest.h>

namespace sync_engine {
namespace {

TEST(DeliveryRetry, FollowsTheScheduleOfStandardWebhooks) {
    const double expected[] = {5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400};
    for (int tries = 1; tries <= 9; ++tries) {
        EXPECT_EQ(delivery_wait(tries, std::nullopt, 0), expected[tries - 1]) << tries;
    }
    EXPECT_EQ(delivery_wait(10, std::nullopt, 0), std::nullopt);
}

TEST(DeliveryRetry, TakesThreeDaysInAll) {
    const double all = std::accumulate(kDeliveryWaits.begin(), kDeliveryWaits.end(), 0.0);
    EXPECT_GT(all, 3 * 86400.0);
    EXPECT_LT(all, 3.5 * 86400.0);
}

TEST(DeliveryRetry, WaitsForTenPercentMoreAtMost) {
    EXPECT_DOUBLE_EQ(*delivery_wait(2, std::nullopt, 0.5), 315);
    EXPECT_LT(*delivery_wait(2, std::nullopt, 0.999999), 330);
}

TEST(DeliveryRetry, HonoursRetryAfterWhereItIsLonger) {
    EXPECT_EQ(delivery_wait(1, 60, 0), 60);
    EXPECT_EQ(delivery_wait(2, 60, 0), 300);
    EXPECT_EQ(delivery_wait(1, 1e12, 0), 86400);
}

TEST(DeliveryRetry, IgnoresAHintThatIsNone) {
    EXPECT_EQ(delivery_wait(1, -1, 0), 5);
    EXPECT_EQ(delivery_wait(1, std::numeric_limits<double>::quiet_NaN(), 0), 5);
    EXPECT_EQ(delivery_wait(0, std::nullopt, 0), std::nullopt);
    EXPECT_EQ(delivery_wait(std::numeric_limits<int>::max(), std::nullopt, 0), std::nullopt);
}

}  // namespace
}  // namespace sync_engine

// Validation of intervals, and the bounds and the distribution of jitter.
#include "core/interval.hpp"

#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace sync_engine {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

void expect_interval(std::optional<double> override_seconds, std::int32_t base, bool valid) {
    const EffectiveInterval interval = effective_interval(override_seconds, IntervalLimits{});
    EXPECT_EQ(interval.base_seconds, base) << override_seconds.value_or(-1);
    EXPECT_EQ(interval.valid, valid) << override_seconds.value_or(-1);
}

void expect_bounds(std::int32_t base, double min, double max, std::int32_t lo, std::int32_t hi) {
    const JitterBounds bounds = jitter_bounds(base, min, max);
    EXPECT_EQ(bounds.lo, lo) << base << " * " << min;
    EXPECT_EQ(bounds.hi, hi) << base << " * " << max;
}

TEST(EffectiveInterval, TakesWholeNumbersWithinTheLimits) {
    expect_interval(std::nullopt, 900, true);
    expect_interval(60, 60, true);
    expect_interval(300, 300, true);
    expect_interval(900.0, 900, true);
    expect_interval(86'400, 86'400, true);
}

TEST(EffectiveInterval, ReplacesEverythingElse) {
    for (const double bad : {59.0, 86'401.0, 0.0, -0.0, -900.0, 900.5, 60.000001, 1e300, -1e300, 5e-324, kNaN,
                             kInfinity, -kInfinity, 2147483648.0, 9.3e18}) {
        expect_interval(bad, 900, false);
    }
}

TEST(EffectiveInterval, FollowsTheConfiguredLimits) {
    const IntervalLimits limits = {900, 60, 3'600};
    EXPECT_FALSE(effective_interval(7'200, limits).valid);
    EXPECT_EQ(effective_interval(7'200, limits).base_seconds, 900);
    EXPECT_EQ(effective_interval(3'600, limits).base_seconds, 3'600);
    // A default outside the limits of an override is still the default.
    EXPECT_EQ(effective_interval(std::nullopt, {7'200, 60, 3'600}).base_seconds, 7'200);
    EXPECT_FALSE(effective_interval(7'200, {7'200, 60, 3'600}).valid);
}

TEST(JitterBounds, ReproduceTheSpecifiedNumbers) {
    expect_bounds(900, 0.0, 0.2, 0, 180);
    expect_bounds(900, 0.05, 0.3, 45, 270);
    expect_bounds(900, 0.07, 0.07, 63, 63);
}

TEST(JitterBounds, RoundInwards) {
    expect_bounds(61, 0.1, 0.2, 7, 12);
    expect_bounds(100, 0.001, 0.019, 1, 1);
    // No whole second lies between the two: the upper bound wins.
    expect_bounds(60, 0.005, 0.01, 0, 0);
    expect_bounds(900, 0.2, 0.1, 90, 90);
}

TEST(JitterBounds, StayBelowTheInterval) {
    expect_bounds(900, 0.0, 1.0, 0, 899);
    expect_bounds(900, 1.0, 1.0, 899, 899);
    expect_bounds(60, 0.99, 1.0, 59, 59);
    expect_bounds(1, 0.0, 1.0, 0, 0);
    expect_bounds(1, 1.0, 1.0, 0, 0);
    expect_bounds(INT32_MAX, 0.0, 1.0, 0, INT32_MAX - 1);
}

TEST(JitterBounds, SurviveNonsense) {
    expect_bounds(0, 0.0, 0.2, 0, 0);
    expect_bounds(-900, 0.0, 0.2, 0, 0);
    expect_bounds(INT32_MIN, 0.0, 1.0, 0, 0);
    expect_bounds(900, kNaN, kNaN, 0, 0);
    expect_bounds(900, -1.0, 2.0, 0, 899);
    expect_bounds(900, -kInfinity, kInfinity, 0, 899);
}

// Each percentage of each interval of up to a day, against exact integer arithmetic.
TEST(JitterBounds, AreExactForWholePercentages) {
    for (std::int32_t base = 60; base <= 86'400; base += 7) {
        for (int percent = 0; percent <= 100; ++percent) {
            const JitterBounds bounds = jitter_bounds(base, percent / 100.0, percent / 100.0);
            const std::int32_t product = base * percent;
            const std::int32_t hi = std::min(product / 100, base - 1);
            ASSERT_EQ(bounds.hi, hi) << base << " * " << percent << " %";
            ASSERT_EQ(bounds.lo, std::min((product + 99) / 100, hi)) << base << " * " << percent << " %";
        }
    }
}

TEST(DrawUniform, StaysWithinItsBounds) {
    std::mt19937_64 random(1);
    for (int i = 0; i < 100'000; ++i) {
        const std::int32_t drawn = draw_uniform({45, 270}, random);
        ASSERT_GE(drawn, 45);
        ASSERT_LE(drawn, 270);
    }
    EXPECT_EQ(draw_uniform({63, 63}, random), 63);
    EXPECT_EQ(draw_uniform({5, 4}, random), 5);
    EXPECT_EQ(draw_uniform({0, INT32_MAX}, [] { return std::uint64_t{INT32_MAX}; }), INT32_MAX);
}

TEST(DrawUniform, DoesNotDrawWhereThereIsNothingToChoose) {
    int calls = 0;
    draw_uniform({7, 7}, [&] { return static_cast<std::uint64_t>(++calls); });
    EXPECT_EQ(calls, 0);
}

TEST(DrawUniform, DrawsAgainInsteadOfFavouringSmallNumbers) {
    int calls = 0;
    // 2^64 = 181 * n + r: the last r values would make 0 .. r-1 a little likelier.
    const std::int32_t drawn = draw_uniform({0, 180}, [&] { return ++calls == 1 ? UINT64_MAX : 42; });
    EXPECT_EQ(calls, 2);
    EXPECT_EQ(drawn, 42);
}

// Pearson's chi-square against the uniform distribution; 180 degrees of freedom exceed 249.05 with
// probability 0.0005, and the seed is fixed.
TEST(DrawUniform, IsUniform) {
    constexpr int kDraws = 1'810'000;
    const JitterBounds bounds = jitter_bounds(900, 0.0, 0.2);
    std::vector<int> seen(static_cast<std::size_t>(bounds.hi) + 1);
    std::mt19937_64 random(20260301);
    for (int i = 0; i < kDraws; ++i) {
        ++seen[static_cast<std::size_t>(draw_uniform(bounds, random))];
    }
    const double expected = static_cast<double>(kDraws) / static_cast<double>(seen.size());
    double chi_square = 0.0;
    for (const int count : seen) {
        chi_square += (count - expected) * (count - expected) / expected;
    }
    EXPECT_EQ(seen.size(), 181u);
    EXPECT_LT(chi_square, 249.05);
    EXPECT_GT(chi_square, 125.0) << "suspiciously even";
}

}  // namespace
}  // namespace sync_engine

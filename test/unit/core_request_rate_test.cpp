// Requests a minute: spread evenly, a burst of a tenth, never more in any minute, and no slower than allowed.
#include "core/request_rate.hpp"

#include <algorithm>
#include <cstdint>
#include <deque>
#include <limits>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace sync_engine {
namespace {

constexpr std::int64_t kSecond = 1'000'000;
constexpr std::int64_t kMinute = 60 * kSecond;
constexpr std::int64_t kNow = 825'000'000 * kSecond;  // 2026, in the server's epoch
constexpr int kMost = std::numeric_limits<int>::max();

using Busy = std::optional<std::int64_t>;

// Lets requests through as claims do: a few at a time, as many as may go.
struct Gate {
    int per_minute;
    Busy busy;
    std::vector<std::int64_t> gone;

    int ask(std::int64_t now, int wanted) {
        const int granted = std::min(wanted, requests_left(busy, now, per_minute));
        if (granted > 0) {
            busy = busy_after_requests(busy, now, per_minute, granted);
            gone.insert(gone.end(), static_cast<std::size_t>(granted), now);
        }
        return granted;
    }
};

// The most requests that went within any 60 seconds.
int most_in_a_minute(const std::vector<std::int64_t>& gone) {
    int most = 0;
    std::size_t from = 0;
    for (std::size_t to = 0; to < gone.size(); ++to) {
        while (gone[to] - gone[from] >= kMinute) {
            ++from;
        }
        most = std::max(most, static_cast<int>(to - from) + 1);
    }
    return most;
}

TEST(RequestRate, BurstIsATenthAndAtLeastOne) {
    EXPECT_EQ(request_burst(1), 1);
    EXPECT_EQ(request_burst(19), 1);
    EXPECT_EQ(request_burst(20), 2);
    EXPECT_EQ(request_burst(5000), 500);
    EXPECT_EQ(request_burst(kMost), kMost / 10);
}

TEST(RequestRate, WhatHasNeverBeenAskedForMayGo) {
    for (const int per_minute : {1, 7, 20, 5000, kMost}) {
        EXPECT_EQ(requests_left(std::nullopt, kNow, per_minute), request_burst(per_minute));
        EXPECT_EQ(requests_left(kNow, kNow, per_minute), request_burst(per_minute));
        EXPECT_EQ(requests_left(kNow - 1, kNow, per_minute), request_burst(per_minute));
        EXPECT_EQ(next_request_at(std::nullopt, kNow, per_minute), kNow);
        EXPECT_EQ(busy_after_requests(std::nullopt, kNow, per_minute, 0), kNow);
    }
}

TEST(RequestRate, OneAMinute) {
    const Busy busy = busy_after_requests(std::nullopt, kNow, 1, 1);
    EXPECT_EQ(busy, kNow + kMinute);
    EXPECT_EQ(requests_left(busy, kNow, 1), 0);
    EXPECT_EQ(next_request_at(busy, kNow, 1), kNow + kMinute);
    EXPECT_EQ(requests_left(busy, kNow + kMinute - kSecond, 1), 0);
    EXPECT_EQ(requests_left(busy, kNow + kMinute, 1), 1);
}

// Whoever waits until next_request_at is let through then, and not a millisecond before.
TEST(RequestRate, NextRequestAtIsWhenOneMayGo) {
    std::mt19937_64 random(1);
    for (int i = 0; i < 20'000; ++i) {
        const int per_minute = static_cast<int>(1 + random() % (i % 2 == 0 ? 50 : 600'000));
        Gate gate = {per_minute, std::nullopt, {}};
        std::int64_t now = kNow;
        for (int step = 0; step < 5; ++step) {
            gate.ask(now, static_cast<int>(1 + random() % 100));
            const std::int64_t next = next_request_at(gate.busy, now, per_minute);
            ASSERT_GE(next, now);
            ASSERT_GE(requests_left(gate.busy, next, per_minute), 1) << per_minute;
            if (next > now) {
                ASSERT_EQ(requests_left(gate.busy, now, per_minute), 0) << per_minute;
                ASSERT_EQ(
                    requests_left(gate.busy, next - std::max<std::int64_t>(2, kMinute / per_minute / 1000),
                                  per_minute),
                    0)
                    << per_minute;
            }
            now += static_cast<std::int64_t>(random() % (2 * kSecond));
        }
    }
}

TEST(RequestRate, NoMinuteHasMoreThanTheRateAndABurst) {
    std::mt19937_64 random(2);
    for (int i = 0; i < 300; ++i) {
        const int per_minute = static_cast<int>(1 + random() % (i % 3 == 0 ? 30 : 3000));
        Gate gate = {per_minute, std::nullopt, {}};
        std::int64_t now = kNow;
        const std::int64_t pause = 1 + static_cast<std::int64_t>(random() % (3 * kMinute / per_minute + 1));
        while (gate.gone.size() < 5'000 && now < kNow + 30 * kMinute) {
            gate.ask(now, static_cast<int>(1 + random() % 200));
            now += static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(2 * pause));
            now += random() % 500 == 0 ? 2 * kMinute : 0;
        }
        EXPECT_LE(most_in_a_minute(gate.gone), per_minute + request_burst(per_minute)) << per_minute;
    }
}

// Always asked, one at a time: what rounding to microseconds takes away stays below a thousandth.
TEST(RequestRate, TheRateIsReached) {
    for (const int per_minute : {1, 3, 7, 11, 13, 59, 60, 61, 97, 999, 5000, 15'000, 44'444}) {
        Gate gate = {per_minute, std::nullopt, {}};
        std::int64_t now = kNow;
        const std::int64_t minutes = 20;
        while (now < kNow + minutes * kMinute) {
            gate.ask(now, 1);
            now = std::max(now + 1, next_request_at(gate.busy, now, per_minute));
        }
        const double expected = static_cast<double>(per_minute) * static_cast<double>(minutes);
        EXPECT_GE(static_cast<double>(gate.gone.size()), expected * 0.999) << per_minute;
        EXPECT_LE(static_cast<double>(gate.gone.size()), expected * 1.001 + request_burst(per_minute))
            << per_minute;
    }
}

TEST(RequestRate, ManyAtOnceAreAsMany) {
    for (const int per_minute : {20, 333, 5000, 1'000'000, kMost}) {
        const int burst = request_burst(per_minute);
        const Busy busy = busy_after_requests(std::nullopt, kNow, per_minute, burst);
        EXPECT_EQ(requests_left(busy, kNow, per_minute), 0) << per_minute;
        EXPECT_EQ(requests_left(busy, *busy, per_minute), burst) << per_minute;
        EXPECT_NEAR(static_cast<double>(*busy - kNow), 6e6, 6e6 / 2) << per_minute;
    }
}

// Claims of transactions that began earlier count their requests later.
TEST(RequestRate, ALateClaimIsNoNewBurst) {
    std::mt19937_64 random(3);
    for (const int per_minute : {1, 20, 60, 600, 5000}) {
        const Busy busy = busy_after_requests(std::nullopt, kNow, per_minute, request_burst(per_minute));
        for (const std::int64_t late : {std::int64_t{1}, kSecond / 100, kSecond, 30 * kSecond}) {
            EXPECT_EQ(requests_left(busy, kNow - late, per_minute), 0) << per_minute << ", " << late;
            EXPECT_GT(next_request_at(busy, kNow - late, per_minute), kNow - late)
                << per_minute << ", " << late;
        }
        // Clocks that jump by up to two seconds.
        Gate gate = {per_minute, std::nullopt, {}};
        for (std::int64_t now = kNow; now < kNow + 10 * kMinute;
             now += static_cast<std::int64_t>(random() % kSecond)) {
            gate.ask(now - static_cast<std::int64_t>(random() % (2 * kSecond)), 10);
        }
        std::sort(gate.gone.begin(), gate.gone.end());
        EXPECT_LE(most_in_a_minute(gate.gone),
                  per_minute + request_burst(per_minute) + (2 * per_minute + 59) / 60)
            << per_minute;
    }
}

TEST(RequestRate, AClockThatWentBackStopsNothing) {
    for (const int per_minute : {1, 20, 5000}) {
        const Busy busy = busy_after_requests(std::nullopt, kNow, per_minute, request_burst(per_minute));
        for (const std::int64_t back : {3 * kMinute, 60 * kMinute, 500'000 * kMinute}) {
            const std::int64_t now = kNow - back;
            EXPECT_EQ(requests_left(busy, now, per_minute), request_burst(per_minute));
            EXPECT_EQ(next_request_at(busy, now, per_minute), now);
            EXPECT_EQ(busy_after_requests(busy, now, per_minute, 1),
                      busy_after_requests(std::nullopt, now, per_minute, 1));
        }
    }
}

TEST(RequestRate, AnotherRateCountsFromNowOn) {
    // 10 a minute were allowed, and one has gone; then 600: some seconds at most, then all.
    const Busy slow = busy_after_requests(std::nullopt, kNow, 10, 1);
    EXPECT_EQ(requests_left(slow, kNow + 6 * kSecond, 600), 60);
    EXPECT_LE(next_request_at(slow, kNow, 600), kNow + 6 * kSecond);
    // The other way round: the six seconds that 600 a minute took last for one of ten.
    const Busy fast = busy_after_requests(std::nullopt, kNow, 600, 60);
    EXPECT_EQ(requests_left(fast, kNow, 10), 0);
    EXPECT_EQ(requests_left(fast, kNow + 6 * kSecond, 10), 1);
}

// Distant times, where a double does not hold every microsecond.
TEST(RequestRate, DistantTimesDoNoHarm) {
    for (const std::int64_t now :
         {std::int64_t{-211'810'204'800'000'000}, std::int64_t{9'223'371'331'199'000'000 - kMinute}}) {
        const Busy busy = busy_after_requests(std::nullopt, now, 1, 1);
        EXPECT_EQ(busy, now + kMinute);
        EXPECT_EQ(requests_left(busy, now, 1), 0);
    }
    EXPECT_EQ(requests_left(std::numeric_limits<std::int64_t>::max(), kNow, 60), 6);
    EXPECT_EQ(requests_left(std::numeric_limits<std::int64_t>::min(), kNow, 60), 6);
}

}  // namespace
}  // namespace sync_engine

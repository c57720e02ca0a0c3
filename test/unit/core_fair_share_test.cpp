// Turns: shares in proportion to weights, a bound on what one waits for others, and a table that may be full.
#include "core/fair_share.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace sync_engine {
namespace {

constexpr std::uint64_t kQueue = 77;

struct Queue {
    std::unique_ptr<FairTable> table = std::make_unique<FairTable>();
    std::vector<int> scratch;

    int share(std::vector<FairWaiter>& waiters, int wanted, std::uint64_t queue = kQueue) {
        scratch.resize(waiters.size() + 1);
        return share_fairly(table.get(), queue, waiters.data(), static_cast<int>(waiters.size()), wanted,
                            scratch.data());
    }
    // Who gets a single job; -1: nobody.
    int next(std::vector<FairWaiter>& waiters, std::uint64_t queue = kQueue) {
        if (share(waiters, 1, queue) == 0) {
            return -1;
        }
        const auto served =
            std::find_if(waiters.begin(), waiters.end(), [](const FairWaiter& w) { return w.given > 0; });
        return static_cast<int>(served - waiters.begin());
    }
};

FairWaiter waiter(std::uint64_t key, double weight = 1, int most = 1'000'000) {
    return {key, weight, most, 0, 0};
}

std::vector<int> given(const std::vector<FairWaiter>& waiters) {
    std::vector<int> jobs;
    for (const FairWaiter& w : waiters) {
        jobs.push_back(w.given);
    }
    return jobs;
}

TEST(FairShare, NobodyAndNothing) {
    Queue queue;
    std::vector<FairWaiter> none;
    EXPECT_EQ(queue.share(none, 10), 0);
    std::vector<FairWaiter> one = {waiter(5)};
    EXPECT_EQ(queue.share(one, 0), 0);
    EXPECT_EQ(queue.share(one, -1), 0);
    one = {waiter(5, 1, 0)};
    EXPECT_EQ(queue.share(one, 10), 0);
    EXPECT_EQ(queue.table->used, 0U);
}

TEST(FairShare, OfEqualOnesTheFirst) {
    Queue queue;
    std::vector<FairWaiter> three = {waiter(30), waiter(20), waiter(10)};
    EXPECT_EQ(queue.share(three, 1), 1);
    EXPECT_EQ(given(three), (std::vector<int>{1, 0, 0}));
    EXPECT_EQ(queue.share(three, 4), 4);
    EXPECT_EQ(given(three), (std::vector<int>{1, 2, 1}));
}

TEST(FairShare, NoMoreThanEachCanHave) {
    Queue queue;
    std::vector<FairWaiter> three = {waiter(2, 1, 2), waiter(3, 1000, 1), waiter(4, 1, 0)};
    EXPECT_EQ(queue.share(three, 100), 3);
    EXPECT_EQ(given(three), (std::vector<int>{2, 1, 0}));
}

TEST(FairShare, InProportionToTheWeights) {
    std::mt19937_64 random(1);
    for (int round = 0; round < 50; ++round) {
        Queue queue;
        std::vector<FairWaiter> waiters;
        const int count = static_cast<int>(2 + random() % 20);
        for (int i = 0; i < count; ++i) {
            waiters.push_back(waiter(random() | 2U, static_cast<double>(1 + random() % 10)));
        }
        const double weights =
            std::accumulate(waiters.begin(), waiters.end(), 0.0,
                            [](double sum, const FairWaiter& w) { return sum + w.weight; });
        std::vector<int> all(waiters.size());
        int jobs = 0;
        while (jobs < 3000) {
            jobs += queue.share(waiters, static_cast<int>(1 + random() % (round % 2 == 0 ? 3 : 100)));
            for (std::size_t i = 0; i < all.size(); ++i) {
                all[i] += waiters[i].given;
            }
        }
        for (std::size_t i = 0; i < all.size(); ++i) {
            // Who waits all the time is never further from its share than a job of its own and one of each
            // other's virtual time.
            EXPECT_NEAR(all[i], jobs * waiters[i].weight / weights, waiters[i].weight + 1) << count;
        }
    }
}

TEST(FairShare, OneByOneIsAsAllAtOnce) {
    Queue single;
    Queue batch;
    std::vector<FairWaiter> a = {waiter(2, 3), waiter(3, 1), waiter(4, 7)};
    std::vector<FairWaiter> b = a;
    std::vector<int> all(3);
    for (int i = 0; i < 110; ++i) {
        ++all[static_cast<std::size_t>(single.next(a))];
    }
    batch.share(b, 110);
    EXPECT_EQ(all, given(b));
}

// The bound that the header states, for arrivals and weights at random: whoever comes with a single job
// waits, of each other's jobs, for no more than ceil(other's weight / its own) + 1.
TEST(FairShare, WhoComesWaitsForFewJobsOfEachOther) {
    std::mt19937_64 random(2);
    for (int round = 0; round < 300; ++round) {
        Queue queue;
        const int count = static_cast<int>(2 + random() % 15);
        std::vector<double> weights;
        for (int i = 0; i < count; ++i) {
            weights.push_back(static_cast<double>(1 + random() % (round % 2 == 0 ? 1000 : 4)));
        }
        std::vector<int> backlog(static_cast<std::size_t>(count));
        // Jobs of the others since the account began to wait; empty: it does not.
        std::vector<std::vector<int>> waited(static_cast<std::size_t>(count));
        for (int step = 0; step < 500; ++step) {
            const std::size_t comes = random() % static_cast<std::uint64_t>(count);
            if (backlog[comes] == 0) {
                backlog[comes] = random() % 3 == 0 ? 1'000 : 1;
                waited[comes].assign(static_cast<std::size_t>(count), 0);
            }
            std::vector<FairWaiter> waiters;
            std::vector<std::size_t> who;
            for (std::size_t i = 0; i < backlog.size(); ++i) {
                if (backlog[i] > 0) {
                    waiters.push_back(waiter(i + 2, weights[i], backlog[i]));
                    who.push_back(i);
                }
            }
            const std::size_t served = who[static_cast<std::size_t>(queue.next(waiters))];
            --backlog[served];
            for (const std::size_t i : who) {
                if (i != served && !waited[i].empty()) {
                    const int jobs = ++waited[i][served];
                    ASSERT_LE(jobs, std::ceil(weights[served] / weights[i]) + 1)
                        << "round " << round << ", step " << step;
                }
            }
            waited[served].clear();  // its first job has gone
        }
    }
}

TEST(FairShare, WhoWasIdleHasSavedNothing) {
    Queue queue;
    std::vector<FairWaiter> both = {waiter(2), waiter(3)};
    queue.share(both, 2);
    std::vector<FairWaiter> alone = {waiter(2)};
    queue.share(alone, 1000);
    queue.share(both, 100);
    EXPECT_NEAR(both[1].given, 50, 1);
}

TEST(FairShare, QueuesKnowNothingOfEachOther) {
    Queue queue;
    std::vector<FairWaiter> both = {waiter(2), waiter(3)};
    EXPECT_EQ(queue.next(both, 1), 0);
    EXPECT_EQ(queue.next(both, 2), 0);
    EXPECT_EQ(queue.next(both, 1), 1);
    EXPECT_EQ(queue.next(both, 3), 0);
    EXPECT_EQ(queue.next(both, 2), 1);
}

TEST(FairShare, RefundsAreHad) {
    Queue queue;
    std::vector<FairWaiter> both = {waiter(2, 2), waiter(3, 1)};
    queue.share(both, 9);
    EXPECT_EQ(given(both), (std::vector<int>{6, 3}));
    refund_share(queue.table.get(), kQueue, 3, 1, 3);
    refund_share(queue.table.get(), kQueue, 4, 1, 3);  // unknown
    std::vector<int> all(2);
    for (int i = 0; i < 6; ++i) {
        ++all[static_cast<std::size_t>(queue.next(both))];
    }
    // No further back than the clock: it does not come before everybody for what others have had meanwhile.
    EXPECT_GE(all[1], 2);
    EXPECT_LE(all[1], 4);
}

// What is given and not there, again and again, costs nobody a turn.
TEST(FairShare, RefundsDoNotFavourOrStarve) {
    std::mt19937_64 random(3);
    Queue queue;
    std::vector<FairWaiter> waiters = {waiter(2), waiter(3), waiter(4)};
    std::vector<int> all(3);
    for (int i = 0; i < 3000; ++i) {
        queue.share(waiters, static_cast<int>(1 + random() % 10));
        for (std::size_t w = 0; w < waiters.size(); ++w) {
            const int unused =
                w == 2 ? waiters[w].given
                       : static_cast<int>(random() % static_cast<std::uint64_t>(waiters[w].given + 1));
            refund_share(queue.table.get(), kQueue, waiters[w].key, 1, unused);
            all[w] += waiters[w].given - unused;
        }
    }
    EXPECT_EQ(all[2], 0);
    EXPECT_NEAR(all[0], all[1], 0.15 * all[0]);
}

// More accounts than the table holds: it forgets, but who is there is served all the same, and nobody is held
// against what others have forgotten.
TEST(FairShare, AFullTableStarvesNobody) {
    Queue queue;
    std::vector<FairWaiter> two = {waiter(2), waiter(3)};
    queue.share(two, 200'000);  // the clock is far ahead of zero
    int behind = 0;             // how much more of the two the first has had
    for (std::uint64_t tenant = 10; tenant < 50'000; ++tenant) {
        // One comes once, with a job; the two have a backlog.
        std::vector<FairWaiter> many = {waiter(tenant, 1, 1), waiter(2), waiter(3)};
        for (int calls = 0; many[0].most > 0; ++calls) {
            ASSERT_LT(calls, 10) << tenant;
            queue.share(many, 2);
            many[0].most -= many[0].given;
            behind += many[1].given - many[2].given;
            ASSERT_LE(std::abs(behind), 20) << tenant;
        }
    }
    EXPECT_LE(queue.table->used, kFairAccounts);
}

TEST(FairShare, MoreThanTheTableHoldsInOneCall) {
    Queue queue;
    std::vector<FairWaiter> crowd;
    for (std::uint64_t key = 2; key < 40'002; ++key) {
        crowd.push_back(waiter(key * 0x9E3779B97F4A7C15ULL | 2U, 1, 1));
    }
    for (int i = 0; i < 3; ++i) {
        EXPECT_EQ(queue.share(crowd, 40'000), 40'000);
        EXPECT_LT(queue.table->used, kFairAccounts);
    }
    EXPECT_EQ(queue.share(crowd, 30'000), 30'000);
    std::vector<FairWaiter> two = {waiter(2), waiter(3)};
    int first = 0;
    for (int i = 0; i < 100; ++i) {
        queue.share(two, 2);
        first += two[0].given;
    }
    EXPECT_NEAR(first, 100, 2);
}

}  // namespace
}  // namespace sync_engine

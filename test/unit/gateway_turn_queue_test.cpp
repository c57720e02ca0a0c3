// Clients that wait for a connection to the database, each in its own line.
#include <gtest/gtest.h>

#include <string>

#include "gateway/turn_queue.hpp"

namespace sync_engine {
namespace {

using Queue = TurnQueue<int>;

// What would be served at once, as long as there are connections: "a1 b2".
std::string served(Queue& queue, std::size_t connections) {
    std::string text;
    for (std::size_t i = 0; i < connections; ++i) {
        const auto turn = queue.take();
        if (!turn) {
            break;
        }
        text += (text.empty() ? "" : " ") + turn->key + std::to_string(turn->item);
    }
    return text;
}

TEST(TurnQueue, ServesEachKeyInTheOrderOfComing) {
    Queue queue({8, 100, 100});
    for (int i = 1; i <= 3; ++i) {
        EXPECT_TRUE(queue.push("a", i));
    }
    EXPECT_EQ(queue.waiting(), 3U);
    EXPECT_EQ(served(queue, 8), "a1 a2 a3");
    EXPECT_EQ(queue.waiting(), 0U);
    EXPECT_FALSE(queue.take());
}

TEST(TurnQueue, ServesKeysInTurn) {
    Queue queue({8, 100, 100});
    for (int i = 1; i <= 4; ++i) {
        queue.push("a", i);
    }
    queue.push("b", 1);
    queue.push("c", 1);
    queue.push("c", 2);
    EXPECT_EQ(served(queue, 8), "a1 b1 c1 a2 c2 a3 a4");
}

TEST(TurnQueue, NoKeyHasMoreThanItsShare) {
    Queue queue({2, 100, 100});
    for (int i = 1; i <= 4; ++i) {
        queue.push("a", i);
    }
    EXPECT_EQ(queue.ready(100), 2U);
    EXPECT_EQ(served(queue, 8), "a1 a2");
    EXPECT_EQ(queue.ready(100), 0U);
    queue.push("b", 1);
    EXPECT_EQ(queue.ready(100), 1U);
    EXPECT_EQ(served(queue, 8), "b1");
    queue.over("a");
    EXPECT_EQ(queue.ready(100), 1U);
    EXPECT_EQ(served(queue, 8), "a3");
}

TEST(TurnQueue, TheEmptyKeyHasNoShare) {
    Queue queue({1, 1, 100});
    for (int i = 1; i <= 3; ++i) {
        EXPECT_TRUE(queue.push("", i));
    }
    EXPECT_EQ(queue.ready(100), 3U);
    EXPECT_EQ(queue.ready(2), 2U);
    EXPECT_EQ(served(queue, 8), "1 2 3");
}

TEST(TurnQueue, NoKeyFillsTheQueue) {
    Queue queue({1, 2, 4});
    EXPECT_TRUE(queue.push("a", 1));
    EXPECT_TRUE(queue.push("a", 2));
    EXPECT_FALSE(queue.push("a", 3));
    EXPECT_TRUE(queue.push("b", 1));
    EXPECT_TRUE(queue.push("c", 1));
    EXPECT_FALSE(queue.push("d", 1));
    EXPECT_EQ(queue.waiting(), 4U);
}

TEST(TurnQueue, WhoGoesLeavesNothingBehind) {
    Queue queue({1, 100, 100});
    queue.push("a", 1);
    queue.push("a", 2);
    queue.push("b", 1);
    queue.remove("a", 1);
    queue.remove("a", 7);
    queue.remove("b", 1);
    queue.remove("b", 1);
    EXPECT_EQ(queue.waiting(), 1U);
    EXPECT_EQ(served(queue, 8), "a2");
    queue.remove("a", 2);
    queue.over("a");
    EXPECT_TRUE(queue.push("a", 3));
    EXPECT_EQ(served(queue, 8), "a3");
}

TEST(TurnQueue, IsClearedWhileSomeAreUnderWay) {
    Queue queue({1, 100, 100});
    queue.push("a", 1);
    queue.push("a", 2);
    queue.push("b", 3);
    EXPECT_EQ(served(queue, 1), "a1");
    EXPECT_EQ(queue.clear().size(), 2U);
    EXPECT_EQ(queue.waiting(), 0U);
    queue.over("a");
    EXPECT_FALSE(queue.take());
}

}  // namespace
}  // namespace sync_engine

#include <gtest/gtest.h>

#include "gateway/bearer_token.hpp"

namespace sync_engine {
namespace {

TEST(BearerToken, IsWhatFollowsTheScheme) {
    EXPECT_EQ(bearer_token("Bearer syn_1"), "syn_1");
    EXPECT_EQ(bearer_token("bEARER  syn_1"), "syn_1");
    EXPECT_EQ(bearer_token("Bearer "), "");
    EXPECT_EQ(bearer_token("Bearer"), "");
    EXPECT_EQ(bearer_token("Basic c3lu"), "");
    EXPECT_EQ(bearer_token(""), "");
}

}  // namespace
}  // namespace sync_engine

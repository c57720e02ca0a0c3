#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "gateway/statement_cache.hpp"

namespace sync_engine {
namespace {

using Names = std::vector<std::string>;

std::vector<PgStatement> pipeline_of(const Names& texts) {
    std::vector<PgStatement> pipeline;
    for (const std::string& sql : texts) {
        pipeline.push_back({sql, {}});
    }
    return pipeline;
}

// Plans these texts, and the server prepares what it is asked to.
StatementCache::Plan run(StatementCache& cache, const Names& texts) {
    const auto plan = cache.plan(pipeline_of(texts));
    for (std::size_t i = 0; i < texts.size(); ++i) {
        if (plan.steps[i].prepare) {
            cache.prepared(texts[i], plan.steps[i].name);
        }
    }
    return plan;
}

TEST(StatementCache, PreparesATextOnce) {
    StatementCache cache(10);
    const auto first = run(cache, {"a", "b", "a"});
    EXPECT_TRUE(first.steps[0].prepare);
    EXPECT_TRUE(first.steps[1].prepare);
    EXPECT_FALSE(first.steps[2].prepare);
    EXPECT_EQ(first.steps[2].name, first.steps[0].name);
    EXPECT_NE(first.steps[1].name, first.steps[0].name);
    const auto second = run(cache, {"b", "a"});
    EXPECT_FALSE(second.steps[0].prepare);
    EXPECT_EQ(second.steps[0].name, first.steps[1].name);
    EXPECT_EQ(second.steps[1].name, first.steps[0].name);
}

TEST(StatementCache, WhatThePipelineDidNotReachIsNotPrepared) {
    StatementCache cache(10);
    const auto failed = cache.plan(pipeline_of({"a"}));
    const auto again = cache.plan(pipeline_of({"a"}));
    EXPECT_TRUE(again.steps[0].prepare);
    EXPECT_NE(again.steps[0].name, failed.steps[0].name);
}

TEST(StatementCache, TransactionsAreNotPrepared) {
    StatementCache cache(10);
    const auto plan = cache.plan(pipeline_of({"BEGIN", "a", "COMMIT"}));
    EXPECT_EQ(plan.steps[0].name, "");
    EXPECT_FALSE(plan.steps[0].prepare);
    EXPECT_NE(plan.steps[1].name, "");
    EXPECT_EQ(plan.steps[2].name, "");
}

TEST(StatementCache, TheLeastRecentlyUsedGoes) {
    StatementCache cache(2);
    const std::string a = run(cache, {"a"}).steps[0].name;
    const std::string b = run(cache, {"b"}).steps[0].name;
    run(cache, {"a"});
    EXPECT_EQ(run(cache, {"c"}).before, Names{"DEALLOCATE " + b});
    EXPECT_EQ(cache.size(), 2U);
    EXPECT_EQ(run(cache, {"a", "c"}).before, Names{});
    // What the pipeline itself uses stays, be it too many.
    EXPECT_EQ(run(cache, {"a", "c", "d"}).before, Names{});
    EXPECT_EQ(cache.size(), 3U);
    EXPECT_EQ(run(cache, {"e"}).before.size(), 2U);
    EXPECT_EQ(cache.size(), 2U);
}

TEST(StatementCache, WhatIsDistrustedIsFreedAndPreparedAnew) {
    StatementCache cache(10);
    const std::string former = run(cache, {"a"}).steps[0].name;
    cache.distrust();
    // In a transaction that has failed nothing else can be run.
    EXPECT_EQ(run(cache, {"ROLLBACK"}).before, Names{});
    const auto plan = run(cache, {"a"});
    EXPECT_EQ(plan.before, Names{"DEALLOCATE ALL"});
    EXPECT_TRUE(plan.steps[0].prepare);
    EXPECT_NE(plan.steps[0].name, former);
    EXPECT_EQ(run(cache, {"a"}).before, Names{});
    cache.distrust();
    cache.clear();
    EXPECT_EQ(run(cache, {"a"}).before, Names{});
}

}  // namespace
}  // namespace sync_engine

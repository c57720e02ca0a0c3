#include <gtest/gtest.h>

#include <limits>
#include <string>

#include <rapidjson/document.h>

#include "executor/results.hpp"

namespace sync_engine {
namespace {

FinishedJob page_job(std::int64_t id, std::size_t signals, std::size_t signal_bytes = 20) {
    Page page;
    page.signals.assign(signals, "\"" + std::string(signal_bytes - 2, 'x') + "\"");
    return {id, "token-" + std::to_string(id), page};
}

FinishedJob failed_job(std::int64_t id, Failure failure) {
    return {id, "token", std::move(failure)};
}

std::vector<std::int64_t> ids(const ResultBatch& batch) {
    std::vector<std::int64_t> out;
    for (const FinishedJob& job : batch.jobs) {
        out.push_back(job.job_id);
    }
    return out;
}

using Ids = std::vector<std::int64_t>;

TEST(ResultQueue, CutsBatchesByNumber) {
    ResultQueue queue(3);
    for (int i = 1; i <= 7; ++i) {
        EXPECT_EQ(queue.full(), i > 3);
        queue.push(page_job(i, 1));
    }
    EXPECT_EQ(queue.size(), 7U);
    EXPECT_EQ(ids(queue.pop()), (Ids{1, 2, 3}));
    EXPECT_EQ(ids(queue.pop()), (Ids{4, 5, 6}));
    EXPECT_EQ(ids(queue.pop()), (Ids{7}));
    EXPECT_TRUE(queue.pop().jobs.empty());
    EXPECT_TRUE(queue.empty());
}

TEST(ResultQueue, CutsBatchesBySize) {
    ResultQueue queue(1000, 10'000);
    for (int i = 1; i <= 5; ++i) {
        queue.push(page_job(i, 1, 4000));
    }
    EXPECT_TRUE(queue.full());
    EXPECT_EQ(ids(queue.pop()), (Ids{1, 2}));
    EXPECT_EQ(ids(queue.pop()), (Ids{3, 4}));
    EXPECT_FALSE(queue.full());
    EXPECT_EQ(ids(queue.pop()), (Ids{5}));
}

TEST(ResultQueue, BigPagesGoAlone) {
    ResultQueue queue(1000);
    queue.push(page_job(1, 1));
    queue.push(page_job(2, kChunkSignals + 1));
    queue.push(page_job(3, 2, kChunkBytes));
    queue.push(page_job(4, kChunkSignals));
    queue.push(page_job(5, 1));
    EXPECT_EQ(ids(queue.pop()), (Ids{1}));
    EXPECT_EQ(ids(queue.pop()), (Ids{2}));
    EXPECT_EQ(ids(queue.pop()), (Ids{3}));
    EXPECT_EQ(ids(queue.pop()), (Ids{4, 5}));
}

TEST(ResultQueue, WhatIsInDoubtComesFirstAndUnchanged) {
    ResultQueue queue(2);
    queue.push(page_job(1, 1));
    queue.push(page_job(2, 1));
    queue.push(page_job(3, 1));
    ResultBatch sent = queue.pop();
    EXPECT_FALSE(queue.in_doubt());
    queue.push_again(std::move(sent));
    EXPECT_TRUE(queue.in_doubt());
    EXPECT_EQ(queue.size(), 3U);
    EXPECT_EQ(ids(queue.pop()), (Ids{1, 2}));
    EXPECT_FALSE(queue.in_doubt());
    EXPECT_EQ(ids(queue.pop()), (Ids{3}));
}

TEST(ResultQueue, ARefusedBatchIsHalvedUntilTheBadOneStandsAlone) {
    ResultQueue queue(10);
    for (int i = 1; i <= 5; ++i) {
        queue.push(page_job(i, 1));
    }
    queue.push_halves(queue.pop());
    EXPECT_EQ(queue.size(), 5U);
    EXPECT_EQ(ids(queue.pop()), (Ids{1, 2}));
    ResultBatch rest = queue.pop();
    EXPECT_EQ(ids(rest), (Ids{3, 4, 5}));
    queue.push_halves(std::move(rest));
    EXPECT_EQ(ids(queue.pop()), (Ids{3}));
    EXPECT_EQ(ids(queue.pop()), (Ids{4, 5}));
    EXPECT_TRUE(queue.empty());
}

TEST(ResultQueue, ACancelledJobsResultIsForgotten) {
    ResultQueue queue(10);
    queue.push(page_job(1, 1));
    queue.push(page_job(2, 1));
    EXPECT_TRUE(queue.remove(1));
    EXPECT_FALSE(queue.remove(1));
    EXPECT_EQ(ids(queue.pop()), (Ids{2}));
    EXPECT_TRUE(queue.empty());
}

TEST(ResultJson, HasTheElementsThatCompleteJobsTakes) {
    Page page;
    page.signals = {R"({"kind":"issue","dedupe_key":"1"})", R"({"kind":"issue","dedupe_key":"2"})"};
    page.next_cursor_json = R"({"page":2})";
    page.has_more = true;
    page.stats_json = R"({"replaced":1})";
    ResultBatch batch;
    batch.jobs.push_back({11, "0d9f0a52-0000-4000-8000-000000000001", page});
    batch.jobs.push_back(failed_job(12, {FailureKind::rate_limited, R"({"code":"x","message":"m"})", 12.5}));
    batch.jobs.push_back(failed_job(13, {FailureKind::permanent, "", std::nullopt}));
    batch.jobs.push_back({14, "t", Page{}});
    rapidjson::Document document;
    document.Parse(results_json(batch).c_str());
    ASSERT_FALSE(document.HasParseError());
    ASSERT_EQ(document.Size(), 4U);
    EXPECT_EQ(document[0]["job_id"].GetInt64(), 11);
    EXPECT_STREQ(document[0]["claim_token"].GetString(), "0d9f0a52-0000-4000-8000-000000000001");
    EXPECT_STREQ(document[0]["signals"][1]["dedupe_key"].GetString(), "2");
    EXPECT_EQ(document[0]["next_cursor"]["page"].GetInt(), 2);
    EXPECT_TRUE(document[0]["has_more"].GetBool());
    EXPECT_EQ(document[0]["stats"]["replaced"].GetInt(), 1);
    EXPECT_STREQ(document[1]["kind"].GetString(), "rate_limited");
    EXPECT_EQ(document[1]["retry_after_seconds"].GetDouble(), 12.5);
    EXPECT_FALSE(document[1].HasMember("signals"));
    EXPECT_TRUE(document[2]["error"].IsObject());
    EXPECT_FALSE(document[2].HasMember("retry_after_seconds"));
    EXPECT_EQ(document[3]["signals"].Size(), 0U);
    EXPECT_TRUE(document[3]["next_cursor"].IsNull());
    EXPECT_FALSE(document[3]["has_more"].GetBool());
}

TEST(ResultJson, AbsurdRetryHintsDoNotBreakTheJson) {
    for (const double hint :
         {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(), -5.0, 1e300}) {
        ResultBatch batch;
        batch.jobs.push_back(failed_job(1, {FailureKind::transient, "{}", hint}));
        rapidjson::Document document;
        document.Parse(results_json(batch).c_str());
        EXPECT_FALSE(document.HasParseError()) << hint;
    }
}

TEST(ResultScript, ABatchIsOneStatement) {
    ResultBatch batch;
    batch.jobs.push_back(page_job(1, kChunkSignals));
    batch.jobs.push_back(page_job(2, 1));
    const auto script = result_script(batch);
    ASSERT_EQ(script.size(), 1U);
    EXPECT_NE(script[0].sql.find("sync.complete_jobs"), std::string::npos);
    ASSERT_EQ(script[0].params.size(), 1U);
}

TEST(ResultScript, ABigPageIsATransactionOfBoundedParts) {
    ResultBatch batch;
    batch.jobs.push_back(page_job(1, 2 * kChunkSignals + 1));
    const auto script = result_script(batch);
    ASSERT_EQ(script.size(), 6U);
    EXPECT_EQ(script.front().sql, "BEGIN");
    EXPECT_EQ(script.back().sql, "COMMIT");
    for (std::size_t i = 1; i <= 3; ++i) {
        EXPECT_NE(script[i].sql.find("sync.add_signals"), std::string::npos);
        rapidjson::Document document;
        document.Parse(script[i].params[2]->c_str());
        EXPECT_EQ(document.Size(), i < 3 ? kChunkSignals : 1U);
        EXPECT_FALSE(script[i].must_be_true);
    }
    EXPECT_NE(script[4].sql.find("sync.complete_job("), std::string::npos);
    EXPECT_TRUE(script[4].must_be_true);  // a stale token takes the signals back
    EXPECT_EQ(script[4].params[1], "token-1");
}

TEST(ResultScript, LongSignalsGoOneByOne) {
    ResultBatch batch;
    batch.jobs.push_back(page_job(1, 3, kChunkBytes));
    EXPECT_EQ(result_script(batch).size(), 3U + 3U);
}

}  // namespace
}  // namespace sync_engine

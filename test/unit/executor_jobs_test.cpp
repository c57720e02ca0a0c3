#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

#include "executor/curl_handles.hpp"
#include "executor/jobs.hpp"

namespace sync_engine {
namespace {

// Does what a job's type says; its requests go to an address that the policy refuses, so they never end by
// themselves in a test that does not run the loop.
class ScriptedConnector : public Connector {
  public:
    Step prepare(const Job& job, SecretResolver&, TimestampUs) const override {
        if (job.job_type == "page") {
            Page page;
            page.signals = {R"({"kind":"x"})"};
            return page;
        }
        if (job.job_type == "throw") {
            throw std::runtime_error("out of order");
        }
        if (job.job_type == "fail") {
            return Failure{FailureKind::permanent, R"({"code":"c","message":"with s3cret-value"})",
                           std::nullopt};
        }
        ApiRequest request;
        request.url = "http://127.0.0.1:1/";
        return request;
    }
    Outcome interpret(const Job&, const ApiRequest&, const HttpResponse& response,
                      TimestampUs) const override {
        return Failure{FailureKind::transient, R"({"code":")" + response.error_code + "\"}", std::nullopt};
    }
    std::vector<ConfigError> validate(std::string_view) const override { return {}; }
};

class NoSecrets : public SecretResolver {
  public:
    std::optional<std::string> env(std::string_view, std::string_view) override { return std::nullopt; }
    std::optional<std::string> file(std::string_view, std::string_view) override { return std::nullopt; }
};

class JobsTest : public testing::Test {
  protected:
    JobsTest() { redactor_.add("s3cret-value"); }
    ~JobsTest() override { close(null_); }

    static ClaimedJob claimed(std::int64_t id, std::string type, std::string token = "token") {
        ClaimedJob job;
        job.job.job_id = id;
        job.job.job_type = std::move(type);
        job.job.connector = "scripted";
        job.claim_token = std::move(token);
        return job;
    }

    const Failure& failure(std::size_t i) { return std::get<Failure>(finished_.at(i).result); }

    int null_ = open("/dev/null", O_WRONLY | O_CLOEXEC);
    CurlGlobal curl_;
    EventLoop loop_;
    AddressPolicy policy_;
    HttpClient http_{loop_, policy_, {1 << 20, "test", ""}};
    NoSecrets secrets_;
    Redactor redactor_;
    Logger log_{null_, LogLevel::debug, redactor_};
    Metrics metrics_;
    TestStops stops_{""};
    ScriptedConnector connector_;
    std::vector<FinishedJob> finished_;
    Jobs jobs_{{http_, secrets_, redactor_, log_, metrics_, stops_},
               [this](std::string_view name) { return name == "scripted" ? &connector_ : nullptr; },
               2,
               [this](FinishedJob&& job) { finished_.push_back(std::move(job)); }};
};

TEST_F(JobsTest, JobsWithoutRequestAreThroughAtOnceWhateverTheConcurrency) {
    jobs_.add({claimed(1, "page"), claimed(2, "page"), claimed(3, "page"), claimed(4, "fail")});
    EXPECT_EQ(jobs_.waiting(), 4U);
    jobs_.start_waiting();
    EXPECT_EQ(finished_.size(), 4U);
    EXPECT_EQ(jobs_.running(), 0U);
    EXPECT_EQ(jobs_.waiting(), 0U);
    EXPECT_EQ(jobs_.held(), 4U);  // until the database has taken the results
    for (const FinishedJob& job : finished_) {
        jobs_.ended(job, "completed", "");
    }
    EXPECT_EQ(jobs_.held(), 0U);
}

TEST_F(JobsTest, NoMoreRequestsThanSlots) {
    jobs_.add({claimed(1, "get"), claimed(2, "get"), claimed(3, "get"), claimed(4, "page")});
    jobs_.start_waiting();
    EXPECT_EQ(jobs_.running(), 2U);
    EXPECT_EQ(jobs_.waiting(), 2U);
    jobs_.drop(1);
    jobs_.start_waiting();
    EXPECT_EQ(jobs_.running(), 2U);
    EXPECT_EQ(http_.running(), 2U);
    EXPECT_EQ(jobs_.waiting(), 1U);
}

TEST_F(JobsTest, OnlyWhatHasWaitedIsGivenUp) {
    jobs_.add({claimed(1, "get"), claimed(2, "get"), claimed(3, "get")});
    jobs_.start_waiting();
    const auto then = Clock::now();
    EXPECT_TRUE(jobs_.give_up_waiting(then - std::chrono::hours(1)).job_ids.empty());
    EXPECT_EQ(jobs_.give_up_waiting(then + std::chrono::hours(1)).job_ids, std::vector<std::int64_t>{3});
    EXPECT_EQ(jobs_.running(), 2U);
    EXPECT_EQ(jobs_.waiting(), 0U);
}

TEST_F(JobsTest, TellsSinceWhenAJobIsHeldAndWhetherItIsThrough) {
    const auto before = Clock::now() - std::chrono::hours(1);
    jobs_.add({claimed(1, "page"), claimed(2, "get")});
    const auto after = Clock::now() + std::chrono::hours(1);
    EXPECT_FALSE(jobs_.is_finished(1));
    jobs_.start_waiting();
    EXPECT_TRUE(jobs_.is_finished(1));
    EXPECT_FALSE(jobs_.is_finished(2));
    EXPECT_FALSE(jobs_.held_since(1, before));
    EXPECT_TRUE(jobs_.held_since(1, after));
    EXPECT_FALSE(jobs_.held_since(3, after));
}

TEST_F(JobsTest, TroubleBecomesAFailureOfItsOwnJob) {
    ClaimedJob unknown = claimed(3, "page");
    unknown.job.connector = "nobody";
    jobs_.add({claimed(1, "throw"), claimed(2, "fail"), std::move(unknown)});
    jobs_.start_waiting();
    ASSERT_EQ(finished_.size(), 3U);
    EXPECT_EQ(failure(0).kind, FailureKind::transient);
    EXPECT_NE(failure(0).error_json.find("out of order"), std::string::npos);
    EXPECT_EQ(failure(1).error_json, R"({"code":"c","message":"with [redacted]"})");
    EXPECT_EQ(failure(2).kind, FailureKind::permanent);
    EXPECT_NE(failure(2).error_json.find("unknown_connector"), std::string::npos);
}

TEST_F(JobsTest, AReplyEndsTheRequest) {
    jobs_.add({claimed(1, "get")});
    loop_.on_idle([&] {
        jobs_.start_waiting();
        if (!finished_.empty()) {
            loop_.stop();
        }
    });
    loop_.run();
    EXPECT_EQ(failure(0).error_json, R"({"code":"blocked_address"})");
    EXPECT_EQ(jobs_.running(), 0U);
}

TEST_F(JobsTest, WhatIsGivenUpIsForgottenWithItsRequest) {
    jobs_.add(
        {claimed(1, "get", "a"), claimed(2, "page", "b"), claimed(3, "get", "c"), claimed(4, "get", "d")});
    jobs_.start_waiting();
    const auto waiting = jobs_.give_up_waiting(Clock::time_point::max());
    EXPECT_EQ(waiting.job_ids, (std::vector<std::int64_t>{4}));
    EXPECT_EQ(waiting.claim_tokens, (std::vector<std::string>{"d"}));
    EXPECT_EQ(jobs_.running(), 2U);
    auto rest = jobs_.give_up_unfinished();
    std::sort(rest.claim_tokens.begin(), rest.claim_tokens.end());
    EXPECT_EQ(rest.claim_tokens, (std::vector<std::string>{"a", "c"}));
    EXPECT_EQ(jobs_.held_ids(), (std::vector<std::int64_t>{2}));  // its result still has to be sent
    EXPECT_EQ(http_.running(), 0U);
}

TEST_F(JobsTest, AJobThatIsClaimedAnewCountsByItsNewToken) {
    jobs_.add({claimed(1, "get", "old")});
    jobs_.start_waiting();
    jobs_.add({claimed(1, "get", "new")});
    EXPECT_EQ(jobs_.held(), 1U);
    EXPECT_EQ(jobs_.running(), 0U);
    EXPECT_EQ(http_.running(), 0U);
    jobs_.start_waiting();
    EXPECT_EQ(jobs_.running(), 1U);
    // The database's word on the old attempt does not end the new one.
    jobs_.ended({1, "old", Page{}}, "stale", "");
    EXPECT_EQ(jobs_.held(), 1U);
    EXPECT_EQ(jobs_.give_up_unfinished().claim_tokens, (std::vector<std::string>{"new"}));
}

TEST_F(JobsTest, DroppingWhatIsNotHeldDoesNothing) {
    jobs_.drop(99);
    jobs_.ended({99, "token", Page{}}, "completed", "");
    EXPECT_EQ(jobs_.held(), 0U);
}

TEST_F(JobsTest, AnErrorTextOfAnyLengthIsCutToJson) {
    jobs_.add({claimed(1, "get")});
    jobs_.start_waiting();
    jobs_.drop(1);
    const std::string many(20'000, 'e');
    class Talkative : public ScriptedConnector {
      public:
        explicit Talkative(std::string text) : text_(std::move(text)) {}
        Step prepare(const Job&, SecretResolver&, TimestampUs) const override {
            return Failure{FailureKind::rate_limited, R"({"message":")" + text_ + "\"}", 7.0};
        }

      private:
        std::string text_;
    } talkative(many);
    Jobs jobs(
        {http_, secrets_, redactor_, log_, metrics_, stops_}, [&](std::string_view) { return &talkative; }, 1,
        [this](FinishedJob&& job) { finished_.push_back(std::move(job)); });
    jobs.add({claimed(2, "any")});
    jobs.start_waiting();
    EXPECT_LT(failure(0).error_json.size(), 9000U);
    EXPECT_TRUE(failure(0).error_json.ends_with("\"}"));
    EXPECT_EQ(failure(0).kind, FailureKind::rate_limited);
    EXPECT_EQ(failure(0).retry_after_seconds, 7.0);
}

}  // namespace
}  // namespace sync_engine

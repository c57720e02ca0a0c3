#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "gateway/hook_signature.hpp"
#include "notify/webhook_signature.hpp"

namespace sync_engine {
namespace {

using Secrets = std::vector<std::string>;

// The examples of GitHub's, Slack's and Standard Webhooks' own documentation.
constexpr std::string_view kGithubBody = "Hello, World!";
const std::string kGithubSecret = "It's a Secret to Everybody";
const std::string kGithubSignature =
    "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

constexpr std::int64_t kSlackTime = 1531420618;
const std::string kSlackSecret = "8f742231b10e8888abcd99yyyzzz85a5";
const std::string kSlackSignature = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
constexpr std::string_view kSlackBody =
    "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
    "&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
    "&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%"
    "2F96rGlfmibIGlgcZRskXaIFfN"
    "&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";

constexpr std::int64_t kStandardTime = 1614265330;
const std::string kStandardSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const std::string kStandardSignature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
constexpr std::string_view kStandardBody = R"({"test": 2432232314})";

HookVerdict github(const Secrets& secrets, const std::string& signature,
                   std::string_view body = kGithubBody) {
    return verify_hook("github", secrets, {{"x-hub-signature-256", signature}}, body, 0);
}

HeaderList slack_headers(const std::string& signature = kSlackSignature,
                         const std::string& time = std::to_string(kSlackTime)) {
    return {{"x-slack-request-timestamp", time}, {"x-slack-signature", signature}};
}

HeaderList standard_headers(const std::string& signatures = kStandardSignature,
                            const std::string& prefix = "webhook-") {
    return {{prefix + "id", "msg_p5jXN8AQM9LWM0D4loKWxJek"},
            {prefix + "timestamp", std::to_string(kStandardTime)},
            {prefix + "signature", signatures}};
}

HookVerdict standard(const Secrets& secrets, const HeaderList& headers, std::int64_t now = kStandardTime) {
    return verify_hook("standard", secrets, headers, kStandardBody, now);
}

TEST(HookSignature, GithubsExample) {
    EXPECT_EQ(github({kGithubSecret}, kGithubSignature), HookVerdict::genuine);
    EXPECT_EQ(github({kGithubSecret}, kGithubSignature, "Hello, World?"), HookVerdict::mismatch);
    EXPECT_EQ(github({"another"}, kGithubSignature), HookVerdict::mismatch);
    EXPECT_EQ(github({kGithubSecret}, "sha256="), HookVerdict::mismatch);
    // Its older signature by SHA-1 is not asked for.
    EXPECT_EQ(github({kGithubSecret}, "sha1=0123"), HookVerdict::missing);
    EXPECT_EQ(verify_hook("github", {kGithubSecret}, {}, kGithubBody, 0), HookVerdict::missing);
}

TEST(HookSignature, WhileSecretsAreRotatedEitherIsGood) {
    EXPECT_EQ(github({"new", kGithubSecret}, kGithubSignature), HookVerdict::genuine);
    EXPECT_EQ(github({kGithubSecret, "new"}, kGithubSignature), HookVerdict::genuine);
}

TEST(HookSignature, WithoutASecretNothingIsGood) {
    EXPECT_EQ(github({}, kGithubSignature), HookVerdict::mismatch);
    // HMAC-SHA256 with an empty key, which anybody can make.
    const std::string anybodys = "sha256=b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad";
    EXPECT_EQ(github({""}, anybodys, ""), HookVerdict::mismatch);
    EXPECT_EQ(verify_hook("secret", {""}, {{"x-webhook-secret", ""}}, "", 0), HookVerdict::missing);
    EXPECT_EQ(verify_hook("none", {"x"}, {{"x-webhook-secret", "x"}}, "", 0), HookVerdict::missing);
}

TEST(HookSignature, SlacksExampleWithinFiveMinutes) {
    const auto at = [](std::int64_t now) {
        return verify_hook("slack", {kSlackSecret}, slack_headers(), kSlackBody, now);
    };
    EXPECT_EQ(at(kSlackTime), HookVerdict::genuine);
    EXPECT_EQ(at(kSlackTime + 300), HookVerdict::genuine);
    EXPECT_EQ(at(kSlackTime - 300), HookVerdict::genuine);
    EXPECT_EQ(at(kSlackTime + 301), HookVerdict::stale);
    EXPECT_EQ(at(kSlackTime - 301), HookVerdict::stale);
}

TEST(HookSignature, SlacksTimeIsSignedToo) {
    const auto with = [](const HeaderList& headers) {
        return verify_hook("slack", {kSlackSecret}, headers, kSlackBody, kSlackTime);
    };
    EXPECT_EQ(with(slack_headers(kSlackSignature, "1531420619")), HookVerdict::mismatch);
    EXPECT_EQ(with(slack_headers(kSlackSignature, "soon")), HookVerdict::missing);
    EXPECT_EQ(with(slack_headers(kSlackSignature, "99999999999999999999999")), HookVerdict::missing);
    EXPECT_EQ(with({{"x-slack-signature", kSlackSignature}}), HookVerdict::missing);
}

TEST(HookSignature, StandardWebhooksExample) {
    EXPECT_EQ(standard({kStandardSecret}, standard_headers()), HookVerdict::genuine);
    EXPECT_EQ(standard({kStandardSecret.substr(6)}, standard_headers()), HookVerdict::genuine);
    EXPECT_EQ(standard({kStandardSecret}, standard_headers(kStandardSignature, "svix-")),
              HookVerdict::genuine);
    EXPECT_EQ(standard({kStandardSecret}, standard_headers(), kStandardTime + 301), HookVerdict::stale);
    EXPECT_EQ(standard({kStandardSecret}, standard_headers(), kStandardTime - 301), HookVerdict::stale);
    EXPECT_EQ(verify_hook("standard", {kStandardSecret}, standard_headers(), "{}", kStandardTime),
              HookVerdict::mismatch);
    EXPECT_EQ(standard({kStandardSecret}, {{"webhook-signature", kStandardSignature}}), HookVerdict::missing);
}

TEST(HookSignature, OneOfSeveralStandardSignaturesIsEnough) {
    const std::string others =
        "v1,AAAA v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZ ";
    EXPECT_EQ(standard({kStandardSecret}, standard_headers(others + kStandardSignature)),
              HookVerdict::genuine);
    EXPECT_EQ(standard({kStandardSecret}, standard_headers(others)), HookVerdict::mismatch);
    // Nor does a secret that cannot sign keep the others from being looked at.
    EXPECT_EQ(standard({"not base64!", "whsec_c2hvcnQ=", kStandardSecret}, standard_headers()),
              HookVerdict::genuine);
}

TEST(HookSignature, WhatTheEngineSendsItselfIsGenuine) {
    const std::string made = webhook_signature("msg_1", 1700000000, "{}", {kStandardSecret}).value;
    const HeaderList headers{
        {"webhook-id", "msg_1"}, {"webhook-timestamp", "1700000000"}, {"webhook-signature", made}};
    EXPECT_EQ(verify_hook("standard", {kStandardSecret}, headers, "{}", 1700000000), HookVerdict::genuine);
}

TEST(HookSignature, ASecretIsTakenFromWhereSendersPutIt) {
    for (const auto& [name, value] : HeaderList{{"x-webhook-secret", "s3cret"},
                                                {"x-gitlab-token", "s3cret"},
                                                {"x-goog-channel-token", "s3cret"},
                                                {"authorization", "Bearer s3cret"},
                                                {"authorization", "bearer s3cret"}}) {
        EXPECT_EQ(verify_hook("secret", {"old", "s3cret"}, {{name, value}}, "", 0), HookVerdict::genuine)
            << name;
        EXPECT_EQ(verify_hook("secret", {"s3cre"}, {{name, value}}, "", 0), HookVerdict::mismatch) << name;
    }
    EXPECT_EQ(verify_hook("secret", {"s3cret"}, {{"authorization", "Basic s3cret"}}, "", 0),
              HookVerdict::missing);
    EXPECT_EQ(verify_hook("secret", {"s3cret"}, {}, "", 0), HookVerdict::missing);
}

TEST(HookSignature, SaysWhatIsWrong) {
    EXPECT_EQ(verdict_text(HookVerdict::genuine), "");
    for (const HookVerdict verdict : {HookVerdict::missing, HookVerdict::mismatch, HookVerdict::stale}) {
        EXPECT_NE(verdict_text(verdict), "");
    }
}

}  // namespace
}  // namespace sync_engine

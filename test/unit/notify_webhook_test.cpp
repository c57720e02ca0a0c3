#include "notify/webhook.hpp"

#include <string>

#include <gtest/gtest.h>

#include "connectors/retry_after.hpp"
#include "notify/webhook_signature.hpp"

namespace sync_engine {
namespace {

constexpr TimestampUs kNow = 826'113'600 * kMicrosPerSecond + 250'000;  // 2026-03-06 00:00:00.25
constexpr std::int64_t kUnixNow = 826'113'600 + 946'684'800;

Delivery delivery() {
    Delivery one;
    one.channel = "webhook";
    one.recipient = "https://hooks.example/in?key=abc";
    one.message_id = "msg_0123";
    one.payload = R"({"a": "ü"})";
    one.secrets = {"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"};
    return one;
}

std::string fault_of(const Delivery& one) {
    const auto request = webhook_request(one, kNow);
    const auto* outcome = std::get_if<DeliveryOutcome>(&request);
    EXPECT_TRUE(outcome == nullptr || outcome->result == DeliveryResult::refused);
    return outcome == nullptr ? "" : outcome->error;
}

HttpResponse reply(long status, std::string body = "", Headers headers = {}) {
    HttpResponse response;
    response.status = status;
    response.body = std::move(body);
    response.headers = std::move(headers);
    return response;
}

TEST(WebhookRequest, IsThePayloadByteForByteWithItsSignature) {
    const Delivery one = delivery();
    const auto request = std::get<ApiRequest>(webhook_request(one, kNow));
    EXPECT_EQ(request.method, "POST");
    EXPECT_EQ(request.url, one.recipient);
    EXPECT_EQ(request.body, one.payload);
    EXPECT_EQ(header(request.headers, "Content-Type"), "application/json");
    EXPECT_EQ(header(request.headers, "webhook-id"), "msg_0123");
    EXPECT_EQ(header(request.headers, "webhook-timestamp"), std::to_string(kUnixNow));
    EXPECT_EQ(header(request.headers, "webhook-signature"),
              webhook_signature("msg_0123", kUnixNow, one.payload, one.secrets).value);
    EXPECT_EQ(request.timeout_ms, 20'000);
    EXPECT_EQ(request.connect_timeout_ms, 5'000);
    EXPECT_EQ(request.max_body_bytes, 1024U);
    EXPECT_TRUE(request.beginning_suffices);
}

TEST(WebhookRequest, IsRefusedWhereItCanNeverBeSent) {
    for (const char* url : {"ftp://hooks.example/", "https://user:pw@hooks.example/",
                            "https://hooks.example\\x", "https://hooks.example/ x", "", "https://127.1/"}) {
        Delivery one = delivery();
        one.recipient = url;
        EXPECT_EQ(fault_of(one), "the webhook's URL is not a plain http or https URL") << url;
    }
    Delivery unsigned_one = delivery();
    unsigned_one.secrets.clear();
    EXPECT_EQ(fault_of(unsigned_one), "the webhook cannot be signed: there is no signing secret");
}

TEST(WebhookOutcome, TwoHundredsAreDelivered) {
    for (const long status : {200L, 201L, 204L, 299L}) {
        const DeliveryOutcome outcome = webhook_outcome(reply(status, "thanks"), kNow);
        EXPECT_EQ(outcome.result, DeliveryResult::delivered);
        EXPECT_EQ(outcome.status, status);
        EXPECT_EQ(outcome.reply, "thanks");
        EXPECT_EQ(outcome.error_code + outcome.error, "");
    }
}

TEST(WebhookOutcome, GoneEndsItAndEverythingElseFails) {
    EXPECT_EQ(webhook_outcome(reply(410), kNow).result, DeliveryResult::gone);
    for (const long status : {301L, 302L, 304L, 400L, 401L, 404L, 429L, 500L, 502L, 504L, 199L}) {
        const DeliveryOutcome outcome = webhook_outcome(reply(status), kNow);
        EXPECT_EQ(outcome.result, DeliveryResult::failed) << status;
        EXPECT_EQ(outcome.error_code, "status");
        EXPECT_NE(outcome.error.find(std::to_string(status)), std::string::npos);
    }
    EXPECT_NE(webhook_outcome(reply(302), kNow).error.find("redirects are not followed"), std::string::npos);
}

TEST(WebhookOutcome, RetryAfterIsHandedOn) {
    EXPECT_EQ(webhook_outcome(reply(503, "", {{"Retry-After", "120"}}), kNow).retry_after_seconds, 120);
    EXPECT_EQ(webhook_outcome(reply(429, "", {{"retry-after", "-5"}}), kNow).retry_after_seconds,
              std::nullopt);
    EXPECT_EQ(webhook_outcome(reply(429, "", {{"retry-after", "soon"}}), kNow).retry_after_seconds,
              std::nullopt);
    EXPECT_EQ(webhook_outcome(reply(200, "", {{"retry-after", "9"}}), kNow).retry_after_seconds,
              std::nullopt);
}

TEST(WebhookOutcome, WithoutAReplyTheCodeSaysWhy) {
    for (const auto& [code, expected] :
         std::vector<std::pair<std::string, std::string>>{{"timeout", "timeout"},
                                                          {"connect", "connect"},
                                                          {"blocked_address", "blocked_address"},
                                                          {"tls", "tls"},
                                                          {"body_too_large", "other"},
                                                          {"other", "other"}}) {
        HttpResponse response;
        response.status = 200;
        response.error_code = code;
        response.error_message = "why";
        const DeliveryOutcome outcome = webhook_outcome(response, kNow);
        EXPECT_EQ(outcome.result, DeliveryResult::failed);
        EXPECT_EQ(outcome.error_code, expected);
        EXPECT_EQ(outcome.error, "why");
        EXPECT_EQ(outcome.status, 0);
    }
}

TEST(WebhookOutcome, OfAReplyThatWasCutTheLastWordGoes) {
    const std::string words(1020, ' ');
    EXPECT_EQ(webhook_outcome(reply(500, words + "secr"), kNow).reply, words);
    EXPECT_EQ(webhook_outcome(reply(500, "short secr"), kNow).reply, "short secr");
    EXPECT_LE(webhook_outcome(reply(500, std::string(1'000'000, '{')), kNow).reply.size(), 1024U);
}

}  // namespace
}  // namespace sync_engine

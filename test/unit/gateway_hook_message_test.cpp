#include <gtest/gtest.h>

#include <string>

#include "gateway/hook_message.hpp"
#include "gateway/json_depth.hpp"

namespace sync_engine {
namespace {

const HeaderList kJson{{"content-type", "application/json; charset=utf-8"}};
const HeaderList kForm{{"content-type", "application/x-www-form-urlencoded"}};
const HeaderList kText{{"content-type", "text/plain"}};

std::string payload(const HeaderList& headers, std::string_view body, std::string_view scheme = "secret") {
    const HookMessage message = read_hook_message(scheme, headers, body);
    EXPECT_EQ(message.fault, "");
    return message.payload;
}

std::string fault(const HeaderList& headers, std::string_view body) {
    const HookMessage message = read_hook_message("secret", headers, body);
    EXPECT_EQ(message.payload, "");
    return message.fault;
}

std::string nested(int depth) {
    return std::string(static_cast<std::size_t>(depth), '[') +
           std::string(static_cast<std::size_t>(depth), ']');
}

TEST(HookMessage, JsonIsKeptNumbersAndAll) {
    EXPECT_EQ(payload(kJson, R"({"a":[1.50,-0,1e3,12345678901234567890123],"b":null})"),
              R"({"a":[1.50,-0,1e3,12345678901234567890123],"b":null})");
    EXPECT_EQ(payload({{"content-type", "application/cloudevents+json"}}, "[]"), "[]");
    // Nobody said what it is, and it is JSON.
    EXPECT_EQ(payload({}, "{\"a\":1}"), "{\"a\":1}");
    EXPECT_EQ(payload(kText, "{\"a\":1}"), "{\"a\":1}");
}

TEST(HookMessage, WhatJsonbCannotHoldIsReplaced) {
    EXPECT_EQ(payload(kJson, R"(["a\u0000b","\ud83d"])"),
              "[\"a\xEF\xBF\xBD"
              "b\",\"\xEF\xBF\xBD\"]");
    EXPECT_EQ(payload(kJson, "[\"\xFF\"]"), "[\"\xEF\xBF\xBD\"]");
    EXPECT_EQ(payload(kJson, "[1e200000]"), "[\"1e200000\"]");
    EXPECT_EQ(payload(kText, std::string("a\0b", 3)),
              "\"a\xEF\xBF\xBD"
              "b\"");
}

TEST(HookMessage, ABodyThatClaimsToBeJsonHasToBe) {
    EXPECT_TRUE(fault(kJson, "{\"a\":").starts_with("the body is not JSON: "));
    EXPECT_TRUE(fault({{"content-type", "Application/JSON"}}, "hello").starts_with("the body is not JSON: "));
    EXPECT_TRUE(fault(kForm, "payload=%7B").starts_with("the body is not JSON: "));
}

TEST(HookMessage, NestingIsBounded) {
    EXPECT_EQ(payload(kJson, nested(64)), nested(64));
    EXPECT_EQ(fault(kJson, nested(65)), "the body is nested deeper than 64 levels");
    EXPECT_EQ(fault(kJson, std::string(1000000, '[')), "the body is nested deeper than 64 levels");
    EXPECT_FALSE(is_nested_deeper(R"(["[[[\"[[["])", 1));
    EXPECT_TRUE(is_nested_deeper(R"(["\\",[]])", 1));
}

TEST(HookMessage, OtherBodiesBecomeStrings) {
    EXPECT_EQ(payload(kText, "hello \"you\""), R"("hello \"you\"")");
    EXPECT_EQ(payload({{"content-type", "application/octet-stream"}}, "\xFF\xFE"), "\"//4=\"");
    EXPECT_EQ(payload({}, ""), "null");
}

TEST(HookMessage, AFormsPayloadIsTheBody) {
    EXPECT_EQ(payload(kForm, "x=1&payload=%7B%22a%22%3A+%22b%2Bc%22%7D"), R"({"a":"b+c"})");
    EXPECT_EQ(payload(kForm, "command=%2Fsync&text=a+b&token=t", "slack"),
              R"({"command":"/sync","text":"a b"})");
    EXPECT_EQ(payload(kForm, ""), "{}");
}

TEST(HookMessage, SlackAsksWhetherTheAddressIsOurs) {
    const auto message = read_hook_message(
        "slack", kJson, R"({"type":"url_verification","token":"t","challenge":"3eZbrw1a"})");
    EXPECT_EQ(message.challenge, "3eZbrw1a");
    EXPECT_EQ(read_hook_message("secret", kJson, R"({"type":"url_verification","challenge":"x"})").challenge,
              "");
}

TEST(HookMessage, SlacksRetriesCarryTheEventsId) {
    const auto message = read_hook_message(
        "slack", kJson, R"({"token":"secret","type":"event_callback","event_id":"Ev08MFMKH6"})");
    EXPECT_EQ(message.delivery_id, "Ev08MFMKH6");
    EXPECT_EQ(message.payload, R"({"type":"event_callback","event_id":"Ev08MFMKH6"})");
}

TEST(HookMessage, DeliveriesAreToldApartByWhatTheSenderRepeats) {
    const auto id = [](std::string_view scheme, const HeaderList& headers) {
        return read_hook_message(scheme, headers, "{}").delivery_id;
    };
    EXPECT_EQ(id("github", {{"x-github-delivery", "72d3162e"}}), "72d3162e");
    EXPECT_EQ(id("standard", {{"webhook-id", "msg_1"}, {"webhook-signature", "v1,a"}}), "msg_1");
    EXPECT_EQ(id("standard", {{"svix-id", "msg_1"}, {"svix-signature", "v1,a"}}), "msg_1");
    // Only what was signed counts.
    EXPECT_EQ(id("standard", {{"webhook-id", "other"}, {"svix-id", "msg_1"}, {"svix-signature", "v1,a"}}),
              "msg_1");
    EXPECT_EQ(id("standard", {{"svix-id", "other"},
                              {"webhook-id", "msg_1"},
                              {"webhook-signature", "v1,a"},
                              {"svix-signature", "v1,b"}}),
              "msg_1");
    EXPECT_EQ(id("secret", {{"x-goog-message-number", "10"}, {"x-goog-channel-id", "c"}}), "c/10");
    EXPECT_EQ(id("secret", {{"ce-id", "7"}, {"ce-source", "/s"}}), "/s/7");
    EXPECT_EQ(id("secret", {{"x-request-id", "r"}, {"idempotency-key", "k"}}), "k");
    EXPECT_EQ(id("secret", {{"x-delivery-id", "d"}}), "d");
    // Two equal events may be two: the body says nothing.
    EXPECT_EQ(id("secret", {}), std::nullopt);
    EXPECT_EQ(id("secret", {{"x-github-delivery", "72d3162e"}}), std::nullopt);
    EXPECT_EQ(id("github", {{"idempotency-key", "k"}}), std::nullopt);
}

TEST(HookMessage, OnlyListedHeadersAreKept) {
    const HeaderList headers{{"content-type", "application/json"},
                             {"x-github-event", "push"},
                             {"x-hub-signature-256", "sha256=0"},
                             {"x-goog-channel-token", "secret"},
                             {"x-goog-resource-state", "exists"},
                             {"x-gitlab-token", "secret"},
                             {"x-gitlab-event", "Push Hook"},
                             {"x-shopify-hmac-sha256", "0"},
                             {"x-slack-signature", "v0=0"},
                             {"x-slack-retry-num", "1"},
                             {"authorization", "Bearer secret"},
                             {"cookie", "a=b"},
                             {"webhook-signature", "v1,0"},
                             {"x-webhook-secret", "secret"},
                             {"ce-type", "a"},
                             {"ce-type", "b\"c"},
                             {"x-forwarded-for", "10.0.0.1"}};
    EXPECT_EQ(read_hook_message("secret", headers, "{}").headers,
              R"({"ce-type":"a, b\"c","content-type":"application/json","x-github-event":"push",)"
              R"("x-gitlab-event":"Push Hook","x-goog-resource-state":"exists","x-slack-retry-num":"1"})");
}

TEST(HookMessage, TestsOfTheSenderAreToBeIgnored) {
    EXPECT_EQ(read_hook_message("github", {{"x-github-event", "ping"}}, "{}").ignored, "a ping");
    EXPECT_EQ(read_hook_message("secret", {{"x-goog-resource-state", "sync"}}, "").ignored,
              "the first message of a channel");
    EXPECT_EQ(read_hook_message("github", {{"x-github-event", "push"}}, "{}").ignored, "");
}

}  // namespace
}  // namespace sync_engine

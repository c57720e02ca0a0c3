#include "notify/smtp_reply.hpp"

#include <string>

#include <gtest/gtest.h>

namespace sync_engine {
namespace {

DeliveryOutcome outcome_of(SmtpStage stage, long code) {
    SmtpReply reply;
    reply.stage = stage;
    reply.code = code;
    reply.text = std::to_string(code) + " <someone@b.example> said so";
    return smtp_outcome(reply);
}

void expect(SmtpStage stage, long code, DeliveryResult result, std::string_view error_code) {
    const DeliveryOutcome outcome = outcome_of(stage, code);
    EXPECT_EQ(outcome.result, result) << code;
    EXPECT_EQ(outcome.error_code, error_code) << code;
    EXPECT_EQ(outcome.status, code);
    EXPECT_NE(outcome.reply.find("said so"), std::string::npos);
    // May be logged, which the address may not.
    EXPECT_EQ(outcome.error.find("someone"), std::string::npos);
}

TEST(SmtpOutcome, AcceptedIsDelivered) {
    SmtpReply reply;
    reply.accepted = true;
    reply.code = 250;
    reply.text = "250 queued as 77";
    const DeliveryOutcome outcome = smtp_outcome(reply);
    EXPECT_EQ(outcome.result, DeliveryResult::delivered);
    EXPECT_EQ(outcome.status, 250);
    EXPECT_EQ(outcome.reply, "250 queued as 77");
    EXPECT_EQ(outcome.error_code + outcome.error, "");
}

TEST(SmtpOutcome, WhatTheServerRefusesForGoodIsRefused) {
    for (const long code : {550L, 551L, 552L, 553L, 554L, 571L}) {
        expect(SmtpStage::message, code, DeliveryResult::refused, "smtp");
    }
    expect(SmtpStage::sender, 552, DeliveryResult::refused, "smtp");
}

TEST(SmtpOutcome, WhatPassesIsTriedAgain) {
    for (const long code : {421L, 450L, 451L, 452L}) {
        expect(SmtpStage::message, code, DeliveryResult::failed, "smtp");
        expect(SmtpStage::sender, code, DeliveryResult::failed, "smtp");
        expect(SmtpStage::greeting, code, DeliveryResult::failed, "smtp");
    }
}

TEST(SmtpOutcome, TheOperatorsMistakesCostNoMessage) {
    for (const long code : {530L, 534L, 535L, 538L}) {
        expect(SmtpStage::authentication, code, DeliveryResult::failed, "config");
        expect(SmtpStage::sender, code, DeliveryResult::failed, "config");
        expect(SmtpStage::message, code, DeliveryResult::failed, "config");
    }
    expect(SmtpStage::greeting, 554, DeliveryResult::failed, "config");
    expect(SmtpStage::greeting, 521, DeliveryResult::failed, "config");
    expect(SmtpStage::sender, 553, DeliveryResult::failed, "config");
    expect(SmtpStage::authentication, 454, DeliveryResult::failed, "config");
}

TEST(SmtpOutcome, WithoutAReplyTheCodeSaysWhy) {
    SmtpReply reply;
    reply.error_code = "timeout";
    reply.error = "Timeout was reached";
    const DeliveryOutcome outcome = smtp_outcome(reply);
    EXPECT_EQ(outcome.result, DeliveryResult::failed);
    EXPECT_EQ(outcome.error_code, "timeout");
    EXPECT_EQ(outcome.error, "Timeout was reached");
    EXPECT_EQ(outcome.status, 0);
}

TEST(SmtpOutcome, LongRepliesAreCut) {
    SmtpReply reply;
    reply.code = 550;
    reply.stage = SmtpStage::message;
    reply.text = "550 " + std::string(100'000, ' ');
    EXPECT_LE(smtp_outcome(reply).reply.size(), 1024U);
}

}  // namespace
}  // namespace sync_engine

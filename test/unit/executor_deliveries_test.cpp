#include "executor/deliveries.hpp"

#include <cstdio>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <unistd.h>

#include "unit/socket_support.hpp"

namespace sync_engine {
namespace {

constexpr const char* kSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

class DeliveriesTest : public testing::Test {
  protected:
    DeliveriesTest() : log_file_(tmpfile()), log_(fileno(log_file_), LogLevel::debug, redactor_) {}
    ~DeliveriesTest() override { fclose(log_file_); }

    static ClaimedDelivery claimed(std::int64_t id, std::string channel, std::string recipient,
                                   std::string token = "token") {
        ClaimedDelivery one;
        one.delivery.delivery_id = id;
        one.delivery.channel = std::move(channel);
        one.delivery.recipient = std::move(recipient);
        one.delivery.message_id = "msg_" + std::to_string(id);
        one.delivery.payload = R"({"type":"test","data":{"title":"payload-text"}})";
        one.delivery.secrets = {kSecret};
        one.claim_token = std::move(token);
        return one;
    }

    void run_until_finished(std::size_t count) {
        loop_.on_idle([this, count] {
            if (finished_.size() >= count) {
                loop_.stop();
            }
        });
        loop_.run();
    }

    std::string logged() {
        log_.flush();
        std::string text;
        rewind(log_file_);
        for (int c = fgetc(log_file_); c != EOF; c = fgetc(log_file_)) {
            text += static_cast<char>(c);
        }
        return text;
    }

    FILE* log_file_;
    CurlGlobal curl_;
    EventLoop loop_;
    AddressPolicy policy_;
    HttpClient webhooks_{loop_, policy_, {1 << 20, "test", "", true}};
    SmtpClient mails_{loop_, {"smtp://127.0.0.1:1", SmtpTls::off, "", nullptr, ""}};
    MailSettings mail_settings_{{"", "from@a.example"}, ""};
    Redactor redactor_;
    Logger log_;
    Metrics metrics_;
    TestStops stops_{""};
    std::vector<FinishedDelivery> finished_;
    Deliveries deliveries_{{loop_, webhooks_, mails_, mail_settings_, redactor_, log_, metrics_, stops_},
                           [this](FinishedDelivery&& one) { finished_.push_back(std::move(one)); }};
};

TEST_F(DeliveriesTest, EachComesToAResultOfItsOwn) {
    deliveries_.send(claimed(1, "webhook", "http://127.0.0.1:1/x?key=topsecret"));
    deliveries_.send(claimed(2, "email", "someone@b.example"));
    deliveries_.send(claimed(3, "email", "nobody"));
    deliveries_.send(claimed(4, "webhook", "gopher://x/"));
    deliveries_.send(claimed(5, "pigeon", "loft 3"));
    EXPECT_TRUE(finished_.empty());  // never from within send()
    EXPECT_EQ(deliveries_.sending(), 5U);
    run_until_finished(5);
    EXPECT_EQ(deliveries_.sending(), 0U);
    EXPECT_EQ(deliveries_.held(), 5U);  // until the database has taken the results
    std::vector<std::string> results(6);
    for (const FinishedDelivery& one : finished_) {
        results.at(static_cast<std::size_t>(one.delivery_id)) =
            std::string(delivery_result_name(one.outcome.result)) + " " + one.outcome.error_code;
        deliveries_.ended(one, "retried", "");
    }
    EXPECT_EQ(results[1], "failed blocked_address");
    EXPECT_EQ(results[2], "failed connect");
    EXPECT_EQ(results[3], "refused config");
    EXPECT_EQ(results[4], "refused config");
    EXPECT_EQ(results[5], "failed config");
    EXPECT_EQ(deliveries_.held(), 0U);
}

TEST_F(DeliveriesTest, TheLogNamesNoUrlNoAddressAndNoPayload) {
    deliveries_.send(claimed(1, "webhook", "http://127.0.0.1:1/x?key=topsecret"));
    deliveries_.send(claimed(2, "email", "someone@b.example"));
    deliveries_.send(claimed(3, "email", "someone@nodot"));
    run_until_finished(3);
    for (const FinishedDelivery& one : finished_) {
        deliveries_.ended(one, "retried", "");
    }
    const std::string text = logged();
    EXPECT_NE(text.find("\"delivery_id\":2"), std::string::npos);
    EXPECT_NE(text.find("\"error_code\":\"blocked_address\""), std::string::npos);
    for (const char* part : {"topsecret", "someone", "payload-text", "whsec_", "127.0.0.1"}) {
        EXPECT_EQ(text.find(part), std::string::npos) << part << text;
    }
}

TEST_F(DeliveriesTest, AReplyIsKeptWithoutSecrets) {
    policy_.allow("loopback");
    redactor_.add("process-secret");
    ScriptedServer server(ScriptedServer::Script{
        {"\r\n\r\n{", std::string("HTTP/1.1 500 X\r\nContent-Length: 400\r\n\r\nkey ") + kSecret +
                          " and process-secret\n"}});
    deliveries_.send(claimed(1, "webhook", "http://127.0.0.1:" + std::to_string(server.port()) + "/"));
    run_until_finished(1);
    EXPECT_EQ(finished_[0].outcome.status, 500);
    EXPECT_EQ(finished_[0].outcome.reply, "key [redacted] and [redacted]\n");
}

TEST_F(DeliveriesTest, WhatIsGivenUpIsForgottenWithItsTransfer) {
    policy_.allow("loopback");
    const ScriptedServer server(ScriptedServer::Script{{"never", ""}});
    const std::string url = "http://127.0.0.1:" + std::to_string(server.port()) + "/";
    deliveries_.send(claimed(1, "webhook", url, "a"));
    deliveries_.send(claimed(2, "email", "nobody", "b"));
    deliveries_.send(claimed(3, "email", "x@y.example", "c"));
    run_until_finished(2);
    const auto released = deliveries_.give_up_unfinished();
    EXPECT_EQ(released.ids, (std::vector<std::int64_t>{1}));
    EXPECT_EQ(released.claim_tokens, (std::vector<std::string>{"a"}));
    EXPECT_EQ(deliveries_.sending(), 0U);
    EXPECT_EQ(deliveries_.held(), 2U);  // their results still have to be sent
    EXPECT_EQ(webhooks_.running(), 0U);
}

TEST_F(DeliveriesTest, OneThatIsClaimedAnewCountsByItsNewToken) {
    deliveries_.send(claimed(1, "email", "nobody", "old"));
    deliveries_.send(claimed(1, "email", "nobody", "new"));
    EXPECT_EQ(deliveries_.held(), 1U);
    EXPECT_EQ(deliveries_.sending(), 1U);
    run_until_finished(1);
    ASSERT_EQ(finished_.size(), 1U);
    EXPECT_EQ(finished_[0].claim_token, "new");
    // The database's word on the old attempt does not end the new one.
    deliveries_.ended({1, "old", {}, 0}, "stale", "");
    EXPECT_EQ(deliveries_.held(), 1U);
    deliveries_.ended(finished_[0], "failed", "");
    EXPECT_EQ(deliveries_.held(), 0U);
}

}  // namespace
}  // namespace sync_engine

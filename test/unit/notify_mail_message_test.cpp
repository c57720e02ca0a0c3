#include "notify/mail_message.hpp"

#include <algorithm>
#include <string>

#include <gtest/gtest.h>

namespace sync_engine {
namespace {

constexpr TimestampUs kNow = 826'113'600 * kMicrosPerSecond;

Delivery delivery() {
    Delivery one;
    one.channel = "email";
    one.recipient = "ops@acme.example";
    one.message_id = "msg_0123456789abcdef0123456789abcdef";
    one.payload = R"({"type":"test","data":{"title":"Hello","summary":"A test."}})";
    one.unsubscribe = "tok.en-1_";
    return one;
}

MailSettings settings(std::string unsubscribe_url = "") {
    return {{"Sync Engine", "no-reply+x@sync.example"}, std::move(unsubscribe_url)};
}

MailMessage mail(const Delivery& one, const MailSettings& with = settings()) {
    return std::get<MailMessage>(mail_message(one, with, kNow));
}

std::string fault_of(const Delivery& one) {
    const auto result = mail_message(one, settings(), kNow);
    const auto* outcome = std::get_if<DeliveryOutcome>(&result);
    EXPECT_TRUE(outcome == nullptr || outcome->result == DeliveryResult::refused);
    return outcome == nullptr ? "" : outcome->error;
}

std::string header(const MailMessage& message, const std::string& name) {
    for (const std::string& line : message.headers) {
        if (line.starts_with(name + ":")) {
            return line.substr(name.size() + 1);
        }
    }
    return "(none)";
}

TEST(MailMessage, HasTheHeadersOfAnAutomaticMail) {
    const MailMessage message = mail(delivery());
    EXPECT_EQ(message.sender, "no-reply+x@sync.example");
    EXPECT_EQ(message.recipient, "ops@acme.example");
    EXPECT_EQ(header(message, "From"), " Sync Engine <no-reply+x@sync.example>");
    EXPECT_EQ(header(message, "To"), " ops@acme.example");
    EXPECT_EQ(header(message, "Subject"), " Hello");
    EXPECT_EQ(header(message, "Date"), " Fri, 06 Mar 2026 12:00:00 +0000");
    EXPECT_EQ(header(message, "Message-ID"), " <msg_0123456789abcdef0123456789abcdef@sync.example>");
    EXPECT_EQ(header(message, "Auto-Submitted"), " auto-generated");
    EXPECT_EQ(header(message, "X-Auto-Response-Suppress"), " All");
    EXPECT_EQ(header(message, "MIME-Version"), "(none)");  // curl's
}

TEST(MailMessage, UnsubscribesByMailUnlessThereIsAUrl) {
    const MailMessage by_mail = mail(delivery());
    EXPECT_EQ(header(by_mail, "List-Unsubscribe"),
              "\r\n <mailto:no-reply+x@sync.example?subject=unsubscribe%20tok.en-1_>");
    EXPECT_EQ(header(by_mail, "List-Unsubscribe-Post"), "(none)");
    const MailMessage by_url = mail(delivery(), settings("https://c.example/u?t={token}&x=1"));
    EXPECT_EQ(header(by_url, "List-Unsubscribe"), " <https://c.example/u?t=tok.en-1_&x=1>");
    EXPECT_EQ(header(by_url, "List-Unsubscribe-Post"), " List-Unsubscribe=One-Click");
}

TEST(MailMessage, WhatMeansSomethingInAMailtoUrlIsEscaped) {
    MailSettings with = settings();
    with.from.address = "a?b&c%d#e@sync.example";
    EXPECT_EQ(header(mail(delivery(), with), "List-Unsubscribe"),
              "\r\n <mailto:a%3Fb%26c%25d%23e@sync.example?subject=unsubscribe%20tok.en-1_>");
}

TEST(MailMessage, WithoutAProperTokenThereIsNoUnsubscribing) {
    for (const char* token : {"", "a b", "a>b", "a\r\nBcc: x", "a/b"}) {
        Delivery one = delivery();
        one.unsubscribe = token;
        EXPECT_EQ(header(mail(one), "List-Unsubscribe"), "(none)") << token;
        EXPECT_EQ(header(mail(one, settings("https://c.example/{token}")), "List-Unsubscribe-Post"),
                  "(none)");
    }
}

TEST(MailMessage, NoHeaderCanBeInjected) {
    Delivery one = delivery();
    one.payload = R"({"type":"test","data":{"title":"x\r\nBcc: victim@b.example\r\n\r\nbody\u0000\u2028y"}})";
    const MailMessage message = mail(one);
    EXPECT_EQ(header(message, "Bcc"), "(none)");
    for (const std::string& line : message.headers) {
        for (std::size_t i = 0; i < line.size(); ++i) {
            const bool fold = line.compare(i, 3, "\r\n ") == 0;
            i += fold ? 2 : 0;
            EXPECT_TRUE(fold || (line[i] >= ' ' && line[i] <= '~')) << line;
        }
        EXPECT_LT(line.size(), 998U);
    }
}

TEST(MailMessage, BodiesEndTheirLinesWithCrlf) {
    const MailMessage message = mail(delivery());
    for (const std::string& body : {message.text, message.html}) {
        EXPECT_TRUE(body.ends_with("\r\n"));
        EXPECT_EQ(std::count(body.begin(), body.end(), '\r'), std::count(body.begin(), body.end(), '\n'));
        EXPECT_EQ(body.find("\n\n"), std::string::npos);
    }
    EXPECT_NE(message.text.find("A test."), std::string::npos);
    EXPECT_NE(message.html.find("A test."), std::string::npos);
}

TEST(MailMessage, WhatCannotBeSentIsRefused) {
    Delivery bad_address = delivery();
    bad_address.recipient = "x@y.example, z@y.example";
    EXPECT_EQ(fault_of(bad_address), "the e-mail address has a blank or a control character");
    Delivery bad_id = delivery();
    bad_id.message_id = "msg>@x";
    EXPECT_NE(fault_of(bad_id), "");
    Delivery bad_payload = delivery();
    bad_payload.payload = "{";
    EXPECT_TRUE(fault_of(bad_payload).starts_with("the payload is not JSON"));
    EXPECT_EQ(fault_of(delivery()), "");
}

TEST(UnsubscribeUrl, NeedsHttpsAndOneTokenInPathOrQuery) {
    EXPECT_EQ(unsubscribe_url_fault("https://c.example/u/{token}"), "");
    EXPECT_EQ(unsubscribe_url_fault("https://c.example/u?t={token}"), "");
    for (const char* bad :
         {"", "https://c.example/u", "http://c.example/{token}", "https://c.example/{token}{token}",
          "https://{token}.example/token", "https://c.example/#{token}", "https://c.example/{token}>",
          "https://c.example/\xC3\xBC{token}", "mailto:{token}@c.example", "https://c.example:{token}/"}) {
        EXPECT_NE(unsubscribe_url_fault(bad), "") << bad;
    }
    EXPECT_NE(unsubscribe_url_fault("https://c.example/{token}" + std::string(700, 'x')), "");
}

}  // namespace
}  // namespace sync_engine

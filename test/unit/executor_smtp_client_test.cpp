#include "executor/smtp_client.hpp"

#include <chrono>
#include <string>

#include <gtest/gtest.h>

#include "unit/socket_support.hpp"

namespace sync_engine {
namespace {

TEST(SmtpUrl, NamesAServer) {
    for (const char* url :
         {"smtp://mail.example:587", "smtps://mail.example:465", "smtp://mail.example", "smtp://127.0.0.1:25",
          "smtp://[::1]:25", "smtp://mail.example:25/host.example"}) {
        EXPECT_EQ(smtp_url_fault(url), "") << url;
    }
    for (const char* url : {"", "mail.example:25", "http://mail.example", "smtp:mail.example",
                            "SMTP://mail.example", "smtp://user:pw@mail.example", "smtp://mail.example:0",
                            "smtp://mail.example:25/a b", "smtp://mail.example/a?b", "smtp://mail.example/#x",
                            "smtp://mail.example\r\n", "smtp:///x", "smtp://mail.example/a/b"}) {
        EXPECT_NE(smtp_url_fault(url), "") << url;
    }
}

class SmtpClientTest : public testing::Test {
  protected:
    SmtpReply send(const std::string& url, SmtpTls tls = SmtpTls::off, const std::string& user = "",
                   std::optional<std::string> password = std::nullopt) {
        SmtpClient client(loop_, {url, tls, user, [password] { return password; }, ""});
        SmtpReply got;
        client.start(mail_, [&](SmtpReply&& reply) {
            got = std::move(reply);
            loop_.stop();
        });
        loop_.run();
        return got;
    }

    static std::string url_of(const ScriptedServer& server) {
        return "smtp://127.0.0.1:" + std::to_string(server.port()) + "/client.example";
    }

    // Up to the point where the mail has been read.
    static ScriptedServer::Script conversation(std::string to_mail, std::string to_recipient,
                                               std::string to_message) {
        return {{"", "220 mail.example ready\r\n"},
                {"EHLO client.example\r\n", "250-mail.example\r\n250 8BITMIME\r\n"},
                {"MAIL FROM", std::move(to_mail)},
                {"RCPT TO", std::move(to_recipient)},
                {"DATA", "354 go on\r\n"},
                {"\r\n.\r\n", std::move(to_message)}};
    }

    CurlGlobal curl_;
    EventLoop loop_;
    MailMessage mail_{"from@a.example",
                      "to@b.example",
                      {"Subject: x", "To: to@b.example"},
                      "text\r\n.\r\nmore\r\n",
                      "<p>html</p>\r\n"};
};

TEST_F(SmtpClientTest, HandsOverTheMail) {
    ScriptedServer server(
        conversation("250 ok\r\n", "250 ok\r\n", "250-first\r\n250 2.0.0 queued as 77\r\n"));
    const SmtpReply reply = send(url_of(server));
    EXPECT_TRUE(reply.accepted);
    EXPECT_EQ(reply.code, 250);
    EXPECT_EQ(reply.text, "250 2.0.0 queued as 77");
    EXPECT_EQ(smtp_outcome(reply).result, DeliveryResult::delivered);
}

TEST_F(SmtpClientTest, TheMailIsMultipartAlternative) {
    ScriptedServer server(conversation("250 ok\r\n", "250 ok\r\n", "250 ok\r\n"));
    EXPECT_TRUE(send(url_of(server)).accepted);
    const std::string& seen = server.join();
    for (const char* part :
         {"MAIL FROM:<from@a.example>", "RCPT TO:<to@b.example>", "Subject: x\r\n",
          "Content-Type: multipart/alternative; boundary=", "Content-Type: text/plain; charset=utf-8\r\n",
          "Content-Type: text/html; charset=utf-8\r\n", "Content-Transfer-Encoding: quoted-printable\r\n",
          "MIME-Version: 1.0", "text\r\n..\r\nmore"}) {
        const bool mime = std::string_view(part).starts_with("MIME");
        EXPECT_TRUE(seen.find(part) != std::string::npos ||
                    (mime && seen.find("Mime-Version: 1.0") != std::string::npos))
            << part << "\n"
            << seen;
    }
}

TEST_F(SmtpClientTest, TheLoopGoesOnWhileTheServerThinks) {
    ScriptedServer server(conversation("250 ok\r\n", "250 ok\r\n", ""));
    SmtpClient client(loop_, {url_of(server), SmtpTls::off, "", nullptr, ""});
    bool answered = false;
    mail_.text = std::string(1'000'000, '=');  // more than fits into the socket's buffers
    const auto id = client.start(mail_, [&](const SmtpReply&) { answered = true; });
    Timer look(loop_);
    const std::function<void()> wait = [&] {
        if (!server.through()) {
            look.set_after(0.01, wait);
            return;
        }
        client.cancel(id);
        client.cancel(id);
        loop_.stop();
    };
    wait();
    loop_.run();
    EXPECT_FALSE(answered);
    EXPECT_TRUE(server.join().ends_with("\r\n.\r\n"));  // closed without a farewell
}

TEST_F(SmtpClientTest, AServerThatHangsUpIsAConnectionThatFailed) {
    for (const char* last : {"250 ok\r\n", ""}) {
        auto script = conversation("250 ok\r\n", last, "");
        ScriptedServer server(ScriptedServer::Script(script.begin(), script.begin() + 4), true);
        const SmtpReply reply = send(url_of(server));
        EXPECT_FALSE(reply.accepted);
        EXPECT_EQ(reply.error_code, "connect");
        EXPECT_EQ(smtp_outcome(reply).result, DeliveryResult::failed);
    }
}

TEST_F(SmtpClientTest, NobodyWaitsForAnAnswerToQuit) {
    // The server answers nothing more once the mail is through, or refused; the loop has other things to do.
    const auto began = Clock::now();
    ScriptedServer accepting(conversation("250 ok\r\n", "250 ok\r\n", "250 ok\r\n"));
    EXPECT_TRUE(send(url_of(accepting)).accepted);
    ScriptedServer refusing(conversation("250 ok\r\n", "550 no\r\n", ""));
    EXPECT_FALSE(send(url_of(refusing)).accepted);
    EXPECT_LT(Clock::now() - began, std::chrono::seconds(20));
    EXPECT_TRUE(accepting.join().ends_with("QUIT\r\n"));
    EXPECT_TRUE(refusing.join().ends_with("QUIT\r\n"));
}

TEST_F(SmtpClientTest, ARecipientThatIsRefusedIsRefused) {
    ScriptedServer server(conversation("250 ok\r\n", "550 5.1.1 <to@b.example> unknown\r\n", ""));
    const SmtpReply reply = send(url_of(server));
    EXPECT_FALSE(reply.accepted);
    EXPECT_EQ(reply.stage, SmtpStage::message);
    EXPECT_EQ(reply.code, 550);
    EXPECT_EQ(reply.text, "550 5.1.1 <to@b.example> unknown");
    EXPECT_EQ(smtp_outcome(reply).result, DeliveryResult::refused);
}

TEST_F(SmtpClientTest, AMessageThatIsRefusedIsRefused) {
    ScriptedServer server(conversation("250 ok\r\n", "250 ok\r\n", "554 5.7.1 spam\r\n"));
    const SmtpReply reply = send(url_of(server));
    EXPECT_EQ(reply.stage, SmtpStage::message);
    EXPECT_EQ(smtp_outcome(reply).result, DeliveryResult::refused);
}

TEST_F(SmtpClientTest, ASenderThatIsRefusedIsTheOperatorsMistake) {
    ScriptedServer server(conversation("553 5.7.1 not yours\r\n", "", ""));
    const SmtpReply reply = send(url_of(server));
    EXPECT_EQ(reply.stage, SmtpStage::sender);
    EXPECT_EQ(smtp_outcome(reply).result, DeliveryResult::failed);
    EXPECT_EQ(smtp_outcome(reply).error_code, "config");
}

TEST_F(SmtpClientTest, AServerThatWantsNobodyIsTriedAgain) {
    ScriptedServer server(ScriptedServer::Script{{"", "554 5.3.2 go away\r\n"}});
    const SmtpReply reply = send(url_of(server));
    EXPECT_EQ(reply.stage, SmtpStage::greeting);
    EXPECT_EQ(smtp_outcome(reply).result, DeliveryResult::failed);
    EXPECT_EQ(smtp_outcome(reply).status, 554);
}

TEST_F(SmtpClientTest, WithoutTlsNothingIsSentWhereItIsRequired) {
    ScriptedServer server({{"", "220 ready\r\n"}, {"EHLO", "250-mail.example\r\n250 AUTH PLAIN\r\n"}});
    const SmtpReply reply = send(url_of(server), SmtpTls::required, "me", "hunter22");
    EXPECT_EQ(reply.error_code, "tls");
    EXPECT_NE(reply.error.find("STARTTLS"), std::string::npos);
    EXPECT_EQ(server.join().find("AUTH"), std::string::npos);
}

TEST_F(SmtpClientTest, AWrongPasswordIsTheOperatorsMistake) {
    ScriptedServer server({{"", "220 ready\r\n"},
                           {"EHLO", "250-mail.example\r\n250 AUTH PLAIN\r\n"},
                           {"AUTH PLAIN", "334 \r\n"},
                           {"\r\n", "535 5.7.8 no\r\n"}});
    const SmtpReply reply = send(url_of(server), SmtpTls::off, "me", "hunter22");
    EXPECT_EQ(reply.stage, SmtpStage::authentication);
    EXPECT_EQ(smtp_outcome(reply).result, DeliveryResult::failed);
    EXPECT_EQ(smtp_outcome(reply).error_code, "config");
}

TEST_F(SmtpClientTest, WithoutAPasswordNobodyIsCalled) {
    const SmtpReply reply = send("smtp://127.0.0.1:1", SmtpTls::off, "me", std::nullopt);
    EXPECT_EQ(reply.error_code, "config");
    EXPECT_EQ(smtp_outcome(reply).result, DeliveryResult::failed);
}

TEST_F(SmtpClientTest, NoServerIsAConnectionThatFailed) {
    EXPECT_EQ(send("smtp://127.0.0.1:1").error_code, "connect");
}

}  // namespace
}  // namespace sync_engine

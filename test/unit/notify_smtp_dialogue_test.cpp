#include "notify/smtp_dialogue.hpp"

#include <string>

#include <gtest/gtest.h>

namespace sync_engine {
namespace {

SmtpDialogue dialogue(std::string mail = "Subject: x\r\n\r\nhello\r\n") {
    return {"from@a.example", "to@b.example", std::move(mail)};
}

TEST(SmtpDialogue, HandsOverOneMail) {
    SmtpDialogue talk = dialogue();
    EXPECT_EQ(talk.begin(), "MAIL FROM:<from@a.example>\r\n");
    EXPECT_EQ(talk.answer("250 ok\r\n"), "RCPT TO:<to@b.example>\r\n");
    EXPECT_EQ(talk.answer("251 will forward\r\n"), "DATA\r\n");
    EXPECT_EQ(talk.answer("354 go on\r\n"), "Subject: x\r\n\r\nhello\r\n.\r\n");
    EXPECT_FALSE(talk.over());
    EXPECT_EQ(talk.answer("250-thanks\r\n250 2.0.0 queued as 77\r\n"), "QUIT\r\n");
    ASSERT_TRUE(talk.over());
    EXPECT_TRUE(talk.reply().accepted);
    EXPECT_EQ(talk.reply().code, 250);
    EXPECT_EQ(talk.reply().text, "250 2.0.0 queued as 77");
    EXPECT_EQ(talk.answer("221 bye\r\n"), "");
    EXPECT_EQ(talk.reply().code, 250);
}

TEST(SmtpDialogue, RepliesComeInPiecesOfAnySize) {
    SmtpDialogue talk = dialogue();
    std::string said;
    for (const char c : std::string("250-a\r\n250-b\n250 c\r\n")) {
        EXPECT_EQ(said, "");
        said = talk.answer(std::string(1, c));
    }
    EXPECT_EQ(said, "RCPT TO:<to@b.example>\r\n");
    EXPECT_EQ(talk.answer(""), "");
    EXPECT_EQ(talk.answer("250\r\n"), "DATA\r\n");
}

TEST(SmtpDialogue, SaysWhereItWasRefused) {
    SmtpDialogue at_sender = dialogue();
    EXPECT_EQ(at_sender.answer("553 not yours\r\n"), "QUIT\r\n");
    EXPECT_EQ(at_sender.reply().stage, SmtpStage::sender);
    EXPECT_EQ(at_sender.reply().code, 553);
    EXPECT_EQ(at_sender.reply().text, "553 not yours");

    SmtpDialogue at_recipient = dialogue();
    at_recipient.answer("250 ok\r\n");
    EXPECT_EQ(at_recipient.answer("550-no\r\n550 such user\r\n"), "QUIT\r\n");
    EXPECT_EQ(at_recipient.reply().stage, SmtpStage::message);
    EXPECT_EQ(at_recipient.reply().text, "550 such user");

    SmtpDialogue at_end = dialogue();
    at_end.answer("250 ok\r\n");
    at_end.answer("250 ok\r\n");
    at_end.answer("354 go on\r\n");
    EXPECT_EQ(at_end.answer("451 later\r\n"), "QUIT\r\n");
    EXPECT_FALSE(at_end.reply().accepted);
    EXPECT_EQ(at_end.reply().code, 451);
    EXPECT_EQ(at_end.reply().error_code, "");
}

TEST(SmtpDialogue, DotsAtTheBeginningOfLinesAreDoubled) {
    SmtpDialogue talk = dialogue(".a\r\n.\r\nb.\r\n..c\r\n");
    talk.answer("250 ok\r\n");
    talk.answer("250 ok\r\n");
    EXPECT_EQ(talk.answer("354 go on\r\n"), "..a\r\n..\r\nb.\r\n...c\r\n.\r\n");
}

TEST(SmtpDialogue, WhatIsNoReplyEndsIt) {
    for (const std::string& nonsense :
         {std::string("HTTP/1.1 400 Bad Request\r\n"), std::string("\r\n"), std::string("25\r\n"),
          std::string("999 what\r\n"), std::string("354 go on\r\n"), std::string(100'000, '2'),
          "250-" + std::string(100'000, 'x')}) {
        SmtpDialogue talk = dialogue();
        EXPECT_EQ(talk.answer(nonsense), "QUIT\r\n") << nonsense.substr(0, 20);
        EXPECT_FALSE(talk.reply().accepted);
        EXPECT_EQ(talk.reply().error_code, "other");
        EXPECT_LE(talk.reply().text.size(), 2048U);
    }
}

TEST(SmtpDialogue, AcceptingTheDataBeforeTheyCameIsNoAcceptance) {
    SmtpDialogue talk = dialogue();
    talk.answer("250 ok\r\n");
    talk.answer("250 ok\r\n");
    EXPECT_EQ(talk.answer("250 ok\r\n"), "QUIT\r\n");
    EXPECT_FALSE(talk.reply().accepted);
    EXPECT_EQ(talk.reply().error_code, "other");
}

}  // namespace
}  // namespace sync_engine

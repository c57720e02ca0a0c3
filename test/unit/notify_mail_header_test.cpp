#include "notify/mail_header.hpp"

#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "core/utf8.hpp"
#include "notify/base64.hpp"

namespace sync_engine {
namespace {

std::vector<std::string> lines_of(const std::string& header) {
    std::vector<std::string> lines;
    std::string::size_type at = 0;
    while (true) {
        const auto end = header.find("\r\n", at);
        lines.push_back(header.substr(at, end == std::string::npos ? end : end - at));
        if (end == std::string::npos) {
            return lines;
        }
        at = end + 2;
    }
}

// What a reader makes of it: unfolded, encoded words decoded.
std::string decoded(const std::string& header) {
    std::string value;
    const auto lines = lines_of(header);
    for (std::size_t i = 0; i < lines.size(); ++i) {
        std::string line = i == 0 ? lines[i].substr(lines[i].find(": ") + 2) : lines[i];
        const auto start = line.find("=?UTF-8?B?");
        if (start == std::string::npos) {
            value += line;
            continue;
        }
        const auto end = line.find("?=", start + 10);
        value += base64_decode(line.substr(start + 10, end - start - 10)).value_or("(broken)");
        value += line.substr(end + 2);
    }
    return value;
}

void expect_safe(const std::string& header) {
    for (const std::string& line : lines_of(header)) {
        EXPECT_LE(line.size(), kMaxHeaderColumns) << line;
        EXPECT_NE(line.find_first_not_of(' '), std::string::npos);
        for (const char c : line) {
            EXPECT_TRUE(c >= ' ' && c <= '~') << header;
        }
    }
    const auto lines = lines_of(header);
    for (std::size_t i = 1; i < lines.size(); ++i) {
        EXPECT_EQ(lines[i].front(), ' ') << header;
    }
}

TEST(TextHeader, PlainTextStaysAsItIs) {
    EXPECT_EQ(text_header("Subject", "acme/anvils failed: status 503", 200),
              "Subject: acme/anvils failed: status 503");
    EXPECT_EQ(text_header("Subject", "", 200), "Subject: ");
}

TEST(TextHeader, LongTextIsFoldedAtItsBlanks) {
    std::string text = "word";
    while (text.size() < 190) {
        text += " word" + std::to_string(text.size());
    }
    const std::string header = text_header("Subject", text, 200);
    expect_safe(header);
    EXPECT_GT(lines_of(header).size(), 2U);
    EXPECT_EQ(decoded(header), text);
}

TEST(TextHeader, NothingCanBeInjected) {
    for (const std::string& text : {std::string("x\r\nBcc: victim@b.example"), std::string("x\n\nbody"),
                                    std::string("x\rTo: y"), std::string("x\0y", 3),
                                    std::string("\xE2\x80\xA8"
                                                "Bcc: y"),
                                    std::string(5000, '\n') + "x"}) {
        const std::string header = text_header("Subject", text, 200);
        EXPECT_EQ(lines_of(header).size(), 1U) << header;
        expect_safe(header);
    }
}

TEST(TextHeader, WhatIsNotAsciiBecomesEncodedWords) {
    EXPECT_EQ(text_header("Subject", "gr\xC3\xBC\xC3\x9F", 200), "Subject: =?UTF-8?B?Z3LDvMOf?=");
    // What looks like an encoded word is shown as it is and not decoded by the reader.
    EXPECT_EQ(decoded(text_header("Subject", "=?UTF-8?Q?=42cc?=", 200)), "=?UTF-8?Q?=42cc?=");
}

TEST(TextHeader, NoCharacterIsSplitOverTwoWords) {
    for (int shift = 0; shift < 8; ++shift) {
        std::string text(static_cast<std::size_t>(shift), 'a');
        for (int i = 0; i < 60; ++i) {
            text += i % 2 == 0 ? "\xF0\x9F\x98\x80" : "\xE2\x82\xAC";
        }
        const std::string header = text_header("Subject", text, 200);
        expect_safe(header);
        EXPECT_EQ(decoded(header), text);
        for (const std::string& line : lines_of(header)) {
            const auto start = line.find("=?UTF-8?B?") + 10;
            const auto part = base64_decode(line.substr(start, line.find("?=", start) - start)).value();
            for (std::size_t at = 0; at < part.size();) {
                const std::size_t length = utf8_character_length(std::string_view(part).substr(at));
                ASSERT_GT(length, 0U);
                at += length;
            }
        }
    }
}

TEST(TextHeader, AWordTooLongForALineIsEncodedAndTheWholeIsBounded) {
    const std::string header = text_header("Subject", std::string(1'000'000, 'x'), kMaxSubjectCharacters);
    expect_safe(header);
    EXPECT_EQ(decoded(header), std::string(199, 'x') + "\xE2\x80\xA6");
    expect_safe(text_header("Subject", std::string(70, 'x'), 200));
    expect_safe(text_header("Subject", std::string(75, 'x') + " y", 200));
    expect_safe(text_header("Subject", "\xFF\xFE" + std::string(300, '\x80'), 200));
}

TEST(MailboxHeader, QuotesOrEncodesTheName) {
    EXPECT_EQ(mailbox_header("From", {"", "a@b.example"}), "From: a@b.example");
    EXPECT_EQ(mailbox_header("From", {"Sync Engine", "a@b.example"}), "From: Sync Engine <a@b.example>");
    EXPECT_EQ(mailbox_header("From", {"Acme, Inc. \"Sync\"", "a@b.example"}),
              R"(From: "Acme, Inc. \"Sync\"" <a@b.example>)");
    EXPECT_EQ(mailbox_header("From", {"B\xC3\xBC", "a@b.example"}), "From: =?UTF-8?B?QsO8?= <a@b.example>");
    expect_safe(mailbox_header("From", {std::string(90, 'n'), std::string(40, 'a') + "@b.example"}));
}

TEST(ParseMailbox, ReadsNameAndAddress) {
    EXPECT_EQ(parse_mailbox("a@b.example").value().address, "a@b.example");
    const Mailbox named = parse_mailbox(" Sync Engine  <no-reply@sync.example> ").value();
    EXPECT_EQ(named.name, "Sync Engine");
    EXPECT_EQ(named.address, "no-reply@sync.example");
    EXPECT_EQ(named.domain(), "sync.example");
    EXPECT_EQ(parse_mailbox(R"("Acme, \"Inc\"" <a@b.example>)").value().name, "Acme, \"Inc\"");
    EXPECT_EQ(parse_mailbox("<a@b.example>").value().name, "");
}

TEST(ParseMailbox, RefusesEverythingElse) {
    for (const char* bad : {"", "nobody", "Name", "Name <nobody>", "Name <a@b.example> x", "a@b.example>",
                            "<a@b.example", "Name\r\nBcc: x <a@b.example>", "x <a@b.example>, y <c@d.example",
                            "Name <a@b.example\r\n>", "Name < a@b.example>"}) {
        EXPECT_EQ(parse_mailbox(bad), std::nullopt) << bad;
    }
}

TEST(MailDate, IsThatOfRfc5322) {
    EXPECT_EQ(mail_date(parse_utc("2026-03-01T12:15:00Z").value()), "Sun, 01 Mar 2026 12:15:00 +0000");
    EXPECT_EQ(mail_date(parse_utc("2000-01-01T00:00:00Z").value()), "Sat, 01 Jan 2000 00:00:00 +0000");
    EXPECT_EQ(mail_date(parse_utc("1999-12-31T23:59:59Z").value()), "Fri, 31 Dec 1999 23:59:59 +0000");
    EXPECT_EQ(mail_date(parse_utc("2024-02-29T07:08:09.5Z").value()), "Thu, 29 Feb 2024 07:08:09 +0000");
}

}  // namespace
}  // namespace sync_engine

#include "notify/mail_mime.hpp"

#include <algorithm>
#include <string>

#include <gtest/gtest.h>

namespace sync_engine {
namespace {

int hex_digit(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c - 'A' + 10;
}

std::string decoded(const std::string& text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '=') {
            out += text[i];
        } else {
            out +=
                text[i + 1] == '\r'
                    ? ""
                    : std::string(1, static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2])));
            i += 2;
        }
    }
    return out;
}

void expect_lines_fit(const std::string& text) {
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = std::min(text.find("\r\n", at), text.size());
        EXPECT_LE(end - at, 76U);
        at = end + 2;
    }
}

TEST(QuotedPrintable, EncodesWhatIsNotPlain) {
    EXPECT_EQ(quoted_printable("a = b\r\n"), "a =3D b\r\n");
    EXPECT_EQ(quoted_printable("gr\xC3\xBC\xC3\x9F"), "gr=C3=BC=C3=9F");
    EXPECT_EQ(quoted_printable("-- \r\nx "), "--=20\r\nx=20");
    EXPECT_EQ(quoted_printable("a\tb\nc\rd"), "a=09b=0Ac=0Dd");
    EXPECT_EQ(quoted_printable(""), "");
}

TEST(QuotedPrintable, LongLinesAreBrokenAndComeBackWhole) {
    for (std::size_t length = 70; length < 160; ++length) {
        for (const char* unit : {"x", "=", " ", "\xC3\xBC", "ab "}) {
            std::string text;
            while (text.size() < length) {
                text += unit;
            }
            text += "\r\nend";
            const std::string encoded = quoted_printable(text);
            expect_lines_fit(encoded);
            EXPECT_EQ(decoded(encoded), text);
        }
    }
}

TEST(MimeMail, HasBothBodies) {
    const MailMessage mail{
        "f@a.example", "t@b.example", {"From: f@a.example", "Subject: a\r\n b"}, "t\xC3\xBC\r\n", "<p>\r\n"};
    EXPECT_EQ(mime_mail(mail),
              "From: f@a.example\r\n"
              "Subject: a\r\n b\r\n"
              "MIME-Version: 1.0\r\n"
              "Content-Type: multipart/alternative; boundary=\"=_alternative\"\r\n"
              "\r\n"
              "--=_alternative\r\n"
              "Content-Type: text/plain; charset=utf-8\r\n"
              "Content-Transfer-Encoding: quoted-printable\r\n"
              "\r\n"
              "t=C3=BC\r\n"
              "\r\n"
              "--=_alternative\r\n"
              "Content-Type: text/html; charset=utf-8\r\n"
              "Content-Transfer-Encoding: quoted-printable\r\n"
              "\r\n"
              "<p>\r\n"
              "\r\n"
              "--=_alternative--\r\n");
}

TEST(MimeMail, NoBodyCanEndItsPart) {
    const MailMessage mail{"", "", {}, "--=_alternative--\r\n--=_alternative\r\n", ".\r\n"};
    const std::string text = mime_mail(mail);
    std::size_t boundaries = 0;
    for (std::size_t at = text.find("--=_alternative"); at != std::string::npos;
         at = text.find("--=_alternative", at + 1)) {
        ++boundaries;
    }
    EXPECT_EQ(boundaries, 3U);
}

}  // namespace
}  // namespace sync_engine

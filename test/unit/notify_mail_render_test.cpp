#include <string>

#include <gtest/gtest.h>

#include "connectors/json_text.hpp"
#include "core/utf8.hpp"
#include "notify/mail_content.hpp"
#include "notify/mail_html.hpp"
#include "notify/mail_text.hpp"

namespace sync_engine {
namespace {

MailContent read(const std::string& payload) {
    MailContent content;
    std::string fault;
    EXPECT_TRUE(read_mail_content(payload, content, fault)) << fault;
    return content;
}

bool has(const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
}

void expect_valid_utf8(const std::string& text) {
    for (std::size_t i = 0; i < text.size();) {
        const std::size_t length = utf8_character_length(std::string_view(text).substr(i));
        ASSERT_GT(length, 0U) << i;
        i += length;
    }
}

// A payload whose every text is `text`.
std::string payload_of(const std::string& text, int items = 3) {
    std::string t;
    append_json_text(t, text);
    const std::string connection =
        R"({"id":1,"name":)" + t + R"(,"external_id":)" + t + R"(,"provider":)" + t + "}";
    std::string rows;
    for (int i = 0; i < items; ++i) {
        rows += (i > 0 ? "," : "") + std::string(R"({"connection":)") + connection +
                R"(,"schedule":{"name":)" + t + R"(},"outcome":)" + t + R"(,"reason":)" + t +
                R"(,"last_error":)" + t + R"(,"message":)" + t + R"(,"class":)" + t + R"(,"state":)" + t +
                R"(,"failed":)" + t + R"(,"type":)" + t + R"(,"title":)" + t + R"(,"provider":)" + t +
                R"(,"count":)" + t + R"(,"timestamp":)" + t + "}";
    }
    const std::string list = "[" + rows + "]";
    const std::string data =
        R"({"title":)" + t + R"(,"summary":)" + t + R"(,"tenant":)" + t + R"(,"notification":{"name":)" + t +
        R"(},"connection":)" + connection + R"(,"run":{"id":)" + t + R"(,"started_at":)" + t +
        R"(},"error":{"message":)" + t + R"(,"code":)" + t + R"(},"period":{"label":)" + t +
        R"(,"from_local":)" + t + R"(,"to_local":)" + t + R"(,"timezone":)" + t + R"(},"not_run":{"items":)" +
        list + R"(},"worst":)" + list + R"(,"incidents":{"items":)" + list + R"(},"stale":{"items":)" + list +
        R"(},"rate_limits":{"items":)" + list + R"(},"next":{"items":)" + list + R"(},"by":)" + list +
        R"(,"events":)" + list + R"(,"links":{"run":)" + t + "}}";
    return data;
}

std::string message(const std::string& type, const std::string& data) {
    return R"({"type":")" + type + R"(","data":)" + data + "}";
}

constexpr const char* kRenderedTypes[] = {"sync.failed", "digest.daily", "sync.bundle", "something.new"};

TEST(MailHtml, EveryValueIsEscaped) {
    for (const char* type : kRenderedTypes) {
        const std::string html = mail_html(
            read(message(type, payload_of("<script>alert('x')</script><img src=x onerror=\"y\">&amp;"))));
        EXPECT_FALSE(has(html, "<script")) << type;
        EXPECT_FALSE(has(html, "<img")) << type;
        EXPECT_FALSE(has(html, "onerror=\"y\"")) << type;
        EXPECT_TRUE(has(html, "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;")) << type;
        EXPECT_TRUE(has(html, "&amp;amp;")) << type;
    }
}

TEST(MailHtml, LoadsNothingAndRunsNothing) {
    const std::string html = mail_html(read(
        message("sync.failed",
                R"({"title":"T","links":{"run":"https://c.example/r?a=1&b=2"},"error":{"message":"x"}})")));
    EXPECT_TRUE(has(html, "href=\"https://c.example/r?a=1&amp;b=2\""));
    for (const char* part :
         {"<img", "<link", "<script", "<style", "url(", "src=", "@import", "<iframe", "javascript:"}) {
        EXPECT_FALSE(has(html, part)) << part;
    }
    EXPECT_TRUE(html.starts_with("<!DOCTYPE html>"));
    EXPECT_TRUE(html.ends_with("</html>\n"));
    EXPECT_TRUE(has(html, "<meta name=\"color-scheme\" content=\"light dark\">"));
}

TEST(MailHtml, TheBarTellsByItsColour) {
    const std::string bad = mail_html(read(message("sync.failed", "{}")));
    const std::string good = mail_html(read(message("sync.recovered", "{}")));
    EXPECT_TRUE(has(bad, "background-color:#b3261e"));
    EXPECT_TRUE(has(good, "background-color:#1a7f37"));
    EXPECT_TRUE(has(good, ">Recovered</div>"));
}

TEST(MailBodies, HoldNoControlsAndNoDirectionMarks) {
    const std::string nasty =
        "a\r\nb\x1b[0m\x07\xE2\x80\xAE"
        "gnp\xE2\x81\xA6\xE2\x80\x8B\xEF\xBB\xBF"
        "c";
    for (const char* type : kRenderedTypes) {
        const MailContent content = read(message(type, payload_of(nasty)));
        for (const std::string& body : {mail_text(content), mail_html(content)}) {
            for (const char c : body) {
                EXPECT_TRUE(c == '\n' || static_cast<unsigned char>(c) >= ' ') << type;
            }
            for (const char* mark : {"\xE2\x80\xAE", "\xE2\x81\xA6", "\xE2\x80\x8B", "\xEF\xBB\xBF"}) {
                EXPECT_FALSE(has(body, mark)) << type;
            }
        }
    }
}

TEST(MailBodies, AreBoundedWhateverThePayload) {
    for (const char* type : kRenderedTypes) {
        // Cells are cut at 120 characters, so that more rows cost more than longer ones.
        for (const std::string& text : {std::string(150, '"'), std::string(20'000, '&'),
                                        std::string(3000, '\n'), std::string(200'000, 'x')}) {
            const int items = text.size() > 200 ? 1 : 60;
            const MailContent content = read(message(type, payload_of(text, items)));
            EXPECT_LE(mail_text(content).size(), kMaxMailBytes) << type;
            EXPECT_LE(mail_html(content).size(), kMaxMailBytes) << type;
        }
    }
    std::string emoji;
    for (int i = 0; i < 150; ++i) {
        emoji += i % 3 == 0 ? "\"" : "\xF0\x9F\x98\x80";
    }
    for (const char* type : kRenderedTypes) {
        const MailContent content = read(message(type, payload_of(emoji, 60)));
        for (const std::string& body : {mail_text(content), mail_html(content)}) {
            EXPECT_LE(body.size(), kMaxMailBytes) << type;
            expect_valid_utf8(body);
        }
    }
}

TEST(MailBodies, CountWhatHasNoRoom) {
    std::string emoji;
    for (int i = 0; i < 150; ++i) {
        emoji += "\"";
    }
    const MailContent content = read(message("digest.daily", payload_of(emoji, 60)));
    EXPECT_TRUE(has(mail_html(content), " more</p>"));
    EXPECT_TRUE(mail_html(content).ends_with("</html>\n"));
    EXPECT_TRUE(has(mail_text(content), " more\n"));
}

TEST(MailBodies, ReadPastInvalidUtf8) {
    const MailContent content =
        read("{\"type\":\"test\",\"data\":{\"title\":\"a\xFF\xC3(\xED\xA0\x80\",\"summary\":\"\\ud800\"}}");
    expect_valid_utf8(mail_text(content));
    expect_valid_utf8(mail_html(content));
    EXPECT_TRUE(has(mail_text(content), "a\xEF\xBF\xBD"));
}

TEST(MailText, ReadsAsALetter) {
    const std::string text =
        mail_text(read(message("sync.failed", R"({"title":"acme/anvils failed","summary":"It failed.",
        "tenant":"acme","connection":{"name":"Anvils"},"error":{"message":"one\ntwo: 2\nError: three"},
        "links":{"run":"https://c.example/r"}})")));
    EXPECT_EQ(text,
              "Failed: acme/anvils failed\n"
              "\n"
              "It failed.\n"
              "\n"
              "Connection:     Anvils\n"
              "Error:          one\n"
              "                two: 2\n"
              "                Error: three\n"
              "\n"
              "Run: https://c.example/r\n"
              "\n"
              "-- \n"
              "Sent by the notification of acme.\n");
}

TEST(MailText, TablesAreLists) {
    const std::string text = mail_text(read(message("digest.daily", R"({"title":"T",
        "worst":[{"connection":{"name":"Anvils"},"failed":2,"runs":96,"last_error":""}]})")));
    EXPECT_EQ(text,
              "Daily digest: T\n"
              "\n"
              "Most failures\n"
              "-------------\n"
              "- Anvils\n"
              "  Failed: 2 of 96\n");
}

}  // namespace
}  // namespace sync_engine

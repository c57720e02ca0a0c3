// URLs: what two parsers might read differently must not be read at all.
#include "core/url.hpp"

#include <random>
#include <string>

#include <gtest/gtest.h>

namespace sync_engine {
namespace {

std::string origin(std::string_view text) {
    const auto url = parse_url(text);
    return url ? url->origin() : "refused";
}

std::string target(std::string_view text) {
    const auto url = parse_url(text);
    return url ? url->target : "refused";
}

TEST(ParseUrl, TakesItApart) {
    const auto url = parse_url("HTTPS://API.GitHub.com:8443/repos/a?per_page=5#top");
    ASSERT_TRUE(url.has_value());
    EXPECT_EQ(url->scheme, "https");
    EXPECT_EQ(url->host, "api.github.com");
    EXPECT_EQ(url->port, 8443);
    EXPECT_EQ(url->target, "/repos/a?per_page=5");
    EXPECT_FALSE(url->ipv6);
    EXPECT_EQ(url->origin(), "https://api.github.com:8443");
}

TEST(ParseUrl, FillsInDefaultPortsAndTargets) {
    EXPECT_EQ(origin("http://a.example"), "http://a.example:80");
    EXPECT_EQ(origin("https://a.example"), "https://a.example:443");
    EXPECT_EQ(origin("https://a.example:443/"), origin("https://A.EXAMPLE"));
    EXPECT_EQ(target("http://a.example"), "/");
    EXPECT_EQ(target("http://a.example?q=1"), "/?q=1");
    EXPECT_EQ(target("http://a.example#f"), "/");
    EXPECT_EQ(target("http://a.example/x#f?g"), "/x");
    EXPECT_EQ(target("http://a.example/?u=http://b.example/@x"), "/?u=http://b.example/@x");
}

TEST(ParseUrl, ReadsAddresses) {
    EXPECT_EQ(origin("http://127.0.0.1:8080"), "http://127.0.0.1:8080");
    EXPECT_EQ(origin("http://[::1]"), "http://[::1]:80");
    EXPECT_EQ(origin("http://[0:0:0:0:0:0:0:1]:80"), "http://[::1]:80");
    EXPECT_EQ(origin("http://[2001:DB8:0:0:1::1]/"), "http://[2001:db8::1:0:0:1]:80");
    EXPECT_EQ(origin("http://[2001:db8:0:1:1:1:1:1]"), "http://[2001:db8:0:1:1:1:1:1]:80");
    EXPECT_EQ(origin("http://[::ffff:127.0.0.1]"), "http://[::ffff:7f00:1]:80");
    EXPECT_EQ(origin("http://[1:2:3:4:5:6:1.2.3.4]"), "http://[1:2:3:4:5:6:102:304]:80");
    EXPECT_EQ(origin("http://[::]"), "http://[::]:80");
    EXPECT_EQ(origin("http://[1::]"), "http://[1::]:80");
    EXPECT_EQ(origin("http://[0:0:1::]"), "http://[0:0:1::]:80");
    EXPECT_EQ(origin("http://[fe80::1:0:0:2]"), "http://[fe80::1:0:0:2]:80");
    EXPECT_TRUE(parse_url("http://[::1]")->ipv6);
    EXPECT_EQ(parse_url("http://[::1]")->host, "::1");
}

TEST(ParseUrl, AcceptsUsualHostNames) {
    EXPECT_EQ(origin("http://localhost"), "http://localhost:80");
    EXPECT_EQ(origin("http://xn--bcher-kva.example"), "http://xn--bcher-kva.example:80");
    EXPECT_EQ(origin("http://my_service:1"), "http://my_service:1");
    EXPECT_EQ(origin("http://3com.example"), "http://3com.example:80");
    EXPECT_EQ(origin("http://1.example"), "http://1.example:80");
    EXPECT_EQ(origin("http://a.1x"), "http://a.1x:80");
    EXPECT_EQ(origin("http://" + std::string(63, 'a')), "http://" + std::string(63, 'a') + ":80");
    EXPECT_EQ(origin("http://a:65535"), "http://a:65535");
}

TEST(ParseUrl, RefusesOtherSchemes) {
    for (const char* text : {"",
                             "x",
                             "a.example",
                             "//a.example",
                             "/path",
                             "http:",
                             "http:/",
                             "http:a.example",
                             "http:/a.example",
                             "ftp://a.example",
                             "file:///etc/passwd",
                             "gopher://a",
                             "dict://a",
                             "javascript://a",
                             "httpx://a",
                             "https+unix://a",
                             " http://a",
                             "ht tp://a",
                             "://a",
                             "http;//a",
                             "hhttp://a",
                             "unix:http://a",
                             "scp://a@b"}) {
        EXPECT_EQ(origin(text), "refused") << text;
    }
}

TEST(ParseUrl, RefusesUserInformation) {
    for (const char* text :
         {"http://user@a.example", "http://user:pass@a.example", "https://api.github.com@evil.example",
          "https://api.github.com:443@evil.example/", "http://@a.example", "http://a.example@", "http://:@a",
          "http://a%40b", "https://api.github.com%40evil.example", "http://evil.example:80@[::1]/"}) {
        EXPECT_EQ(origin(text), "refused") << text;
    }
}

TEST(ParseUrl, RefusesWhatParsersDisagreeAbout) {
    for (const char* text : {"https://evil.example\\@api.github.com",
                             "https://api.github.com\\.evil.example",
                             "http:\\\\a.example",
                             "http://a.example/\\x",
                             "http://a.example /",
                             "http://a .example",
                             "http://a.example/a b",
                             "http://a.example\t",
                             "http://a\n.example",
                             "http://a.example/\r\nHost: evil",
                             "http://a.example\x7f",
                             "http://a.example/\x01",
                             "http://",
                             "http:///",
                             "http:///path",
                             "http://?q",
                             "http://#f",
                             "http://:80",
                             "http://.",
                             "http://..",
                             "http://.a",
                             "http://a.",
                             "http://a..b",
                             "http://a.example./",
                             "http://*.a",
                             "http://a,b",
                             "http://a;b",
                             "http://a!b",
                             "http://a'b",
                             "http://(a)",
                             "http://a$b",
                             "http://a=b",
                             "http://{host}/",
                             "http://{{config.host}}/x",
                             "http://<a>",
                             "http://a\"b",
                             "http://a|b",
                             "http://a^b",
                             "http://a`b",
                             "http://%61.example",
                             "http://b\xc3\xbc"
                             "cher.example",
                             "http://a\xe3\x80\x82"
                             "b",
                             "http://\xef\xbc\x91"
                             "27.0.0.1"}) {
        EXPECT_EQ(origin(text), "refused") << text;
    }
    EXPECT_EQ(origin(std::string_view("http://a\0.example", 17)), "refused");
    EXPECT_EQ(origin("http://" + std::string(64, 'a')), "refused");
    std::string long_host = "a";
    for (int i = 0; i < 127; ++i) {
        long_host += ".a";
    }
    EXPECT_EQ(origin("http://" + long_host), "refused");
    EXPECT_EQ(origin("http://a/" + std::string(kMaxUrlLength, 'x')), "refused");
}

TEST(ParseUrl, RefusesNumbersInDisguise) {
    for (const char* host : {"2130706433", "127.1", "127.0.1", "0x7f.0.0.1", "0x7f000001", "0177.0.0.1",
                             "127.0.0.01", "127.0.0.256", "1.2.3.4.5", "0", "0x", "a.0x7f", "a.1", "1.2.3.4.",
                             "127.0.0.1.0", "00.0.0.0", "127.0.0.0x1"}) {
        EXPECT_EQ(origin(std::string("http://") + host), "refused") << host;
    }
}

TEST(ParseUrl, RefusesBadIpv6) {
    for (const char* host : {"[]",
                             "[:]",
                             "[:::]",
                             "[::1",
                             "::1",
                             "[::1]x",
                             "[::1].a",
                             "[1]",
                             "[1:2:3:4:5:6:7]",
                             "[1:2:3:4:5:6:7:8:9]",
                             "[1:2:3:4:5:6:7::8:9]",
                             "[1::2::3]",
                             "[12345::]",
                             "[g::]",
                             "[::1%25eth0]",
                             "[::1%eth0]",
                             "[fe80::1%1]",
                             "[::1.2.3]",
                             "[::1.2.3.4.5]",
                             "[::256.1.1.1]",
                             "[1.2.3.4::]",
                             "[::1.2.3.4:5]",
                             "[1:2:3:4:5:6:7:1.2.3.4]",
                             "[::1:]",
                             "[:1::]",
                             "[1:]",
                             "[v1.fe80::a]",
                             "[ ::1]",
                             "[::-1]",
                             "[1:2:3:4::5:6:7:8]",
                             "[::ffff:0x7f000001]"}) {
        EXPECT_EQ(origin(std::string("http://") + host), "refused") << host;
    }
}

TEST(ParseUrl, RefusesBadPorts) {
    for (const char* port : {"", "0", "00", "080", "65536", "99999", "100000", "-1", "+80", "8a", "a", " 80",
                             "80 ", "0x50", "80:80", "18446744073709551696", "\xd9\xa8"}) {
        EXPECT_EQ(origin(std::string("http://a.example:") + port), "refused") << port;
        EXPECT_EQ(origin(std::string("http://[::1]:") + port), "refused") << port;
    }
}

TEST(ParseUrl, OriginsAreStableAndDamageIsHarmless) {
    std::mt19937 random(11);
    const std::string valid = "https://api.github.com:8443/[::1]/x?y=z#1.2.3.4@0x";
    for (int i = 0; i < 200'000; ++i) {
        std::string text = valid.substr(0, 5 + random() % valid.size());
        for (unsigned edits = random() % 5; edits > 0; --edits) {
            text[random() % text.size()] =
                random() % 2 == 0 ? static_cast<char>(random() % 256) : valid[random() % valid.size()];
        }
        if (const auto url = parse_url(text)) {
            ASSERT_EQ(origin(url->origin()), url->origin()) << text;
            ASSERT_EQ(url->target.front(), '/') << text;
            ASSERT_NE(url->port, 0) << text;
        }
    }
}

}  // namespace
}  // namespace sync_engine

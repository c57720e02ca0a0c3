// Retry-After in both its forms, and whatever else servers write there.
#include "connectors/retry_after.hpp"

#include <string>

#include <gtest/gtest.h>

#include "connectors/json_text.hpp"

namespace sync_engine {
namespace {

// 2026-03-01T12:00:00Z
const TimestampUs kNow = *parse_utc("2026-03-01T12:00:00Z");

std::optional<double> waits(std::string value) {
    return retry_after_seconds({{"Retry-After", std::move(value)}}, kNow);
}

std::string date(std::string_view text) {
    const auto at = parse_http_date(text);
    return at ? format_utc(*at) : "refused";
}

TEST(Header, IsFoundWhateverItsCase) {
    const Headers headers = {
        {"content-TYPE", "a"}, {"X-Empty", ""}, {"x-twice", " first\t"}, {"X-Twice", "second"}};
    EXPECT_EQ(header(headers, "Content-Type"), "a");
    EXPECT_EQ(header(headers, "x-empty"), "");
    EXPECT_EQ(header(headers, "X-TWICE"), "first");
    EXPECT_EQ(header(headers, "X-Twic"), std::nullopt);
    EXPECT_EQ(header(headers, "X-Twice2"), std::nullopt);
    EXPECT_EQ(header(headers, ""), std::nullopt);
    EXPECT_EQ(header({}, "a"), std::nullopt);
    // Only ASCII letters have a case.
    EXPECT_EQ(header({{"a[", "1"}, {"\xC3\x89", "2"}}, "a{"), std::nullopt);
    EXPECT_EQ(header({{"\xC3\x89", "2"}}, "\xC3\xA9"), std::nullopt);
}

TEST(Header, TrimsBlanksOnly) {
    EXPECT_EQ(header({{"A", " \t "}}, "a"), "");
    EXPECT_EQ(header({{"A", "\t b c \t"}}, "a"), "b c");
}

TEST(HttpDate, IsReadAsRfc9110WritesIt) {
    EXPECT_EQ(date("Sun, 06 Nov 1994 08:49:37 GMT"), "1994-11-06T08:49:37Z");
    EXPECT_EQ(date("Thu, 29 Feb 2024 23:59:59 GMT"), "2024-02-29T23:59:59Z");
    EXPECT_EQ(date("Fri, 31 Dec 9999 00:00:00 GMT"), "9999-12-31T00:00:00Z");
    EXPECT_EQ(date("Thu, 01 Jan 1970 00:00:00 GMT"), "1970-01-01T00:00:00Z");
}

TEST(HttpDate, RefusesAnythingElse) {
    for (const auto* text : {"",
                             "0",
                             "Sun, 06 Nov 1994 08:49:37",
                             "Sun, 06 Nov 1994 08:49:37 UTC",
                             "Sun, 06 Nov 1994 08:49:37 +01",
                             "Sunday, 06-Nov-94 08:49:37 GMT",
                             "Sun Nov  6 08:49:37 1994",
                             "Sun, 32 Nov 1994 08:49:37 GMT",
                             "Sun, 00 Nov 1994 08:49:37 GMT",
                             "Sun, 29 Feb 2023 08:49:37 GMT",
                             "Sun, 06 Foo 1994 08:49:37 GMT",
                             "Sun, 06 nov 1994 08:49:37 GMT",
                             "Sun, -6 Nov 1994 08:49:37 GMT",
                             "Sun,  6 Nov 1994 08:49:37 GMT",
                             "Sun, 06 Nov 1994 25:00:00 GMT",
                             "Sun, 06 Nov 1994 08:61:00 GMT",
                             "Sun, 06 Nov 1994 08:49:99 GMT",
                             "Sun, 06 Nov -994 08:49:37 GMT",
                             "Sun, 06 Nov 1994 08-49-37 GMT",
                             "Sun, 06 Nov 1994  8:49:37 GMT",
                             "Sun, 06-Nov-1994 08:49:37 GMT",
                             "Sun, 06 Nov 1994T08:49:37 GMT",
                             "Sun, 06 Nov 1994 08:49:37 gmt",
                             "1994-11-06T08:49:37Z",
                             "Sun, 06 Nov 1994 08:49:37 GMT ",
                             "Sun, 06 Nov 1994 08:49+01 GMT"}) {
        EXPECT_EQ(date(text), "refused") << text;
    }
    EXPECT_EQ(date(std::string_view("Sun, 06 Nov 1994 08:49\0\0\0 GMT", 29)), "refused");
    EXPECT_EQ(date(std::string(1'000'000, 'x')), "refused");
}

TEST(RetryAfter, CountsSeconds) {
    EXPECT_EQ(waits("120"), 120.0);
    EXPECT_EQ(waits("0"), 0.0);
    EXPECT_EQ(waits(" 7 "), 7.0);
    EXPECT_EQ(waits("1.5"), 1.5);
    EXPECT_EQ(waits("99999999999999999999"), 1e20);
}

TEST(RetryAfter, CountsToADate) {
    EXPECT_EQ(waits("Sun, 01 Mar 2026 12:02:00 GMT"), 120.0);
    EXPECT_EQ(waits("Sun, 01 Mar 2026 12:00:00 GMT"), 0.0);
    EXPECT_EQ(waits("Sun, 01 Mar 2026 11:00:00 GMT"), 0.0);
    EXPECT_EQ(waits("Thu, 01 Jan 1970 00:00:00 GMT"), 0.0);
    EXPECT_EQ(waits(" Mon, 02 Mar 2026 12:00:00 GMT\t"), 86400.0);
}

TEST(RetryAfter, IsPassedByWhenItMakesNoSense) {
    for (const auto* value :
         {"", " ", "soon", "-1", "+5", "1e999", "nan", "inf", "infinity", "0x10", "5s", "5 seconds", "1,5",
          "1 2", "\xFF", "12:00:00", "2026-03-01T12:02:00Z", "120, 60"}) {
        EXPECT_EQ(waits(value), std::nullopt) << value;
    }
    EXPECT_EQ(retry_after_seconds({}, kNow), std::nullopt);
}

TEST(RetryAfter, SurvivesAbsurdClocks) {
    const Headers headers = {{"retry-after", "Fri, 31 Dec 9999 00:00:00 GMT"}};
    EXPECT_EQ(retry_after_seconds(headers, kTimestampMax), 0.0);
    EXPECT_GT(*retry_after_seconds(headers, kTimestampMin), 2e11);
    EXPECT_EQ(retry_after_seconds(headers, kTimestampInfinity), 0.0);
    EXPECT_GT(*retry_after_seconds(headers, kTimestampNegInfinity), 2e11);
}

TEST(JsonSeconds, TakesNumbersThatAreNotNegative) {
    const auto seconds = [](std::string_view json) {
        rapidjson::Document document;
        std::string error;
        EXPECT_TRUE(parse_json(json, document, error)) << json;
        return json_seconds(document);
    };
    EXPECT_EQ(seconds("30"), 30.0);
    EXPECT_EQ(seconds("0.25"), 0.25);
    EXPECT_EQ(seconds("3e1"), 30.0);
    for (const auto* json : {"-1", "\"30\"", "null", "true", "[30]", "{}", "1e400"}) {
        EXPECT_EQ(seconds(json), std::nullopt) << json;
    }
}

}  // namespace
}  // namespace sync_engine

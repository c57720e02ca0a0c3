// ISO 8601 in and out, and the calendar below it.
#include "core/time.hpp"

#include <random>
#include <string>

#include <gtest/gtest.h>

namespace sync_engine {
namespace {

constexpr std::int64_t kDay = 86'400 * kMicrosPerSecond;

TimestampUs at(const char* text) {
    const auto time = parse_utc(text);
    EXPECT_TRUE(time.has_value()) << text;
    return time.value_or(0);
}

TEST(Calendar, KnownDays) {
    EXPECT_EQ(days_from_civil(2000, 1, 1), 0);
    EXPECT_EQ(days_from_civil(1970, 1, 1), -10'957);
    EXPECT_EQ(days_from_civil(2000, 3, 1), 60);
    EXPECT_EQ(days_from_civil(1999, 12, 31), -1);
    EXPECT_EQ(days_from_civil(-4713, 11, 24) * kDay, kTimestampMin);
    EXPECT_EQ(days_from_civil(294'277, 1, 1) * 86'400, kTimestampEnd / kMicrosPerSecond);
}

TEST(Calendar, EveryDayOfTwoErasComesBack) {
    std::int64_t expected = days_from_civil(-400, 1, 1);
    for (std::int64_t day = expected; day < days_from_civil(401, 1, 1); ++day, ++expected) {
        const CivilDate date = civil_from_days(day);
        ASSERT_EQ(days_from_civil(date.year, date.month, date.day), expected);
        ASSERT_GE(date.month, 1);
        ASSERT_LE(date.month, 12);
        ASSERT_GE(date.day, 1);
        ASSERT_LE(date.day, 31);
    }
}

TEST(ParseUtc, ReadsTheUsualForms) {
    const TimestampUs noon = at("2026-03-01T12:15:00Z");
    EXPECT_EQ(noon, (days_from_civil(2026, 3, 1) * 86'400 + 44'100) * kMicrosPerSecond);
    EXPECT_EQ(at("2026-03-01T12:15:00"), noon);
    EXPECT_EQ(at("2026-03-01 12:15:00"), noon);
    EXPECT_EQ(at("2026-03-01t12:15:00z"), noon);
    EXPECT_EQ(at("2026-03-01T12:15Z"), noon);
    EXPECT_EQ(at("2026-03-01T12:15"), noon);
    EXPECT_EQ(at("+2026-03-01T12:15:00Z"), noon);
    EXPECT_EQ(at("2026-03-01"), noon - 44'100 * kMicrosPerSecond);
}

TEST(ParseUtc, ReadsOffsets) {
    const TimestampUs noon = at("2026-03-01T12:15:00Z");
    EXPECT_EQ(at("2026-03-01T13:15:00+01"), noon);
    EXPECT_EQ(at("2026-03-01T13:15:00+0100"), noon);
    EXPECT_EQ(at("2026-03-01T13:15:00+01:00"), noon);
    EXPECT_EQ(at("2026-03-01 06:45:00-05:30"), noon);
    EXPECT_EQ(at("2026-03-02T03:14+14:59"), noon);
    EXPECT_EQ(at("2026-03-01T12:15:00-00:00"), noon);
    EXPECT_EQ(at("2025-12-31T23:30:00-01:00"), at("2026-01-01T00:30:00Z"));
}

TEST(ParseUtc, ReadsFractions) {
    const TimestampUs noon = at("2026-03-01T12:15:00Z");
    EXPECT_EQ(at("2026-03-01T12:15:00.5Z"), noon + 500'000);
    EXPECT_EQ(at("2026-03-01T12:15:00,5Z"), noon + 500'000);
    EXPECT_EQ(at("2026-03-01T12:15:00.000001Z"), noon + 1);
    EXPECT_EQ(at("2026-03-01T12:15:00.0000005Z"), noon + 1);
    EXPECT_EQ(at("2026-03-01T12:15:00.00000049999999999999999999Z"), noon);
    EXPECT_EQ(at("2026-03-01T12:15:00.9999999Z"), noon + kMicrosPerSecond);
}

TEST(ParseUtc, RollsOverWhatIso8601Allows) {
    EXPECT_EQ(at("2026-03-01T24:00:00Z"), at("2026-03-02T00:00:00Z"));
    EXPECT_EQ(at("2026-12-31T24:00"), at("2027-01-01"));
    EXPECT_EQ(at("2016-12-31T23:59:60Z"), at("2017-01-01T00:00:00Z"));
    EXPECT_EQ(at("2024-02-29"), at("2024-03-01") - kDay);
    EXPECT_EQ(at("2000-02-29"), at("2000-03-01") - kDay);
}

TEST(ParseUtc, RefusesNonsense) {
    const char* const texts[] = {
        "",
        " ",
        "Z",
        "T",
        "-",
        "+",
        "now",
        "infinity",
        "-infinity",
        "epoch",
        "today",
        "null",
        "2026",
        "2026-03",
        "2026-3-1",
        "2026-03-1",
        "26-03-01",
        "202-03-01",
        "20260301",
        "2026/03/01",
        "2026-00-01",
        "2026-13-01",
        "2026-03-00",
        "2026-03-32",
        "2026-04-31",
        "2026-02-29",
        "1900-02-29",
        "2100-02-29",
        "2026-03-01T",
        "2026-03-01 ",
        " 2026-03-01",
        "2026-03-01Z",
        "2026-03-01+01",
        "2026-03-01T12",
        "2026-03-01T12Z",
        "2026-03-01T1:15",
        "2026-03-01T12:1",
        "2026-03-01T12:15:",
        "2026-03-01T12:15:0",
        "2026-03-01T25:00:00",
        "2026-03-01T24:00:01",
        "2026-03-01T24:01",
        "2026-03-01T24:00:00.000001Z",
        "2026-03-01T12:60:00",
        "2026-03-01T12:15:61",
        "2026-03-01T12:15:00.",
        "2026-03-01T12:15:00.Z",
        "2026-03-01T12:15:00.5.5Z",
        "2026-03-01T12:15.5Z",
        "2026-03-01T12:15:00ZZ",
        "2026-03-01T12:15:00Z ",
        "2026-03-01T12:15:00 Z",
        "2026-03-01T12:15:00 UTC",
        "2026-03-01T12:15:00+",
        "2026-03-01T12:15:00+1",
        "2026-03-01T12:15:00+01:",
        "2026-03-01T12:15:00+01:0",
        "2026-03-01T12:15:00+01:60",
        "2026-03-01T12:15:00+16",
        "2026-03-01T12:15:00+01:00:00",
        "2026-03-01T12:15:00+-1",
        "2026-03-01T-1:15:00",
        "2026-03-01  12:15:00",
        "2026-03-01X12:15:00",
        "2026-03-01T12:15:00Zjunk",
        "-0000-01-01",
        "0x7e-01-01",
        "02026-03-01",
        "1234567-01-01",
        "99999999999999999999-01-01",
        "--2026-03-01",
        "+-2026-03-01",
        "2026--3-01",
        "2026-03-01T12:15:1e1Z",
        "\xd9\xa2\xd9\xa0\xd9\xa2\xd9\xa6-03-01",
        "2026\xe2\x88\x92"
        "03\xe2\x88\x92"
        "01",
    };
    for (const char* text : texts) {
        EXPECT_FALSE(parse_utc(text).has_value()) << '"' << text << '"';
    }
    EXPECT_FALSE(parse_utc(std::string_view("2026-03-01\0", 11)).has_value());
    EXPECT_FALSE(parse_utc(std::string_view("2026-03-01T12:15:00\0Z", 21)).has_value());
    EXPECT_FALSE(parse_utc(std::string(100'000, '9')).has_value());
    EXPECT_TRUE(parse_utc("2026-03-01T12:15:00." + std::string(100'000, '9')).has_value());
}

TEST(ParseUtc, KeepsToTheFiniteRange) {
    EXPECT_EQ(at("-4713-11-24"), kTimestampMin);
    EXPECT_EQ(at("294276-12-31T23:59:59.999999Z"), kTimestampMax);
    EXPECT_FALSE(parse_utc("-4713-11-23").has_value());
    EXPECT_FALSE(parse_utc("-4713-11-24T00:00:00+00:01").has_value());
    EXPECT_FALSE(parse_utc("294277-01-01").has_value());
    EXPECT_FALSE(parse_utc("294276-12-31T24:00:00Z").has_value());
    EXPECT_FALSE(parse_utc("294276-12-31T23:59:59.9999995Z").has_value());
    EXPECT_FALSE(parse_utc("294276-12-31T23:59:59-00:01").has_value());
    EXPECT_FALSE(parse_utc("999999-12-31").has_value());
    EXPECT_FALSE(parse_utc("-999999-01-01").has_value());
    EXPECT_EQ(at("0000-01-01"), days_from_civil(0, 1, 1) * kDay);
}

TEST(FormatUtc, WritesIso8601) {
    EXPECT_EQ(format_utc(at("2026-03-01T12:15:00Z")), "2026-03-01T12:15:00Z");
    EXPECT_EQ(format_utc(at("2026-03-01T12:15:00.123456Z")), "2026-03-01T12:15:00.123456Z");
    EXPECT_EQ(format_utc(at("2026-03-01T12:15:00.120000Z")), "2026-03-01T12:15:00.12Z");
    EXPECT_EQ(format_utc(at("2026-03-01T12:15:00.000001Z")), "2026-03-01T12:15:00.000001Z");
    EXPECT_EQ(format_utc(at("1969-12-31T23:59:59.5Z")), "1969-12-31T23:59:59.5Z");
    EXPECT_EQ(format_utc(0), "2000-01-01T00:00:00Z");
    EXPECT_EQ(format_utc(-1), "1999-12-31T23:59:59.999999Z");
}

TEST(FormatUtc, WritesTheEndsOfTheRange) {
    EXPECT_EQ(format_utc(kTimestampMin), "-4713-11-24T00:00:00Z");
    EXPECT_EQ(format_utc(kTimestampMax), "294276-12-31T23:59:59.999999Z");
    EXPECT_EQ(format_utc(kTimestampInfinity), "");
    EXPECT_EQ(format_utc(kTimestampNegInfinity), "");
    EXPECT_EQ(format_utc(kTimestampEnd), "");
    EXPECT_EQ(format_utc(kTimestampMin - 1), "");
}

TEST(FormatUtc, EverythingWrittenIsReadBack) {
    std::mt19937_64 random(20260301);
    std::uniform_int_distribution<TimestampUs> times(kTimestampMin, kTimestampMax);
    for (int i = 0; i < 200'000; ++i) {
        const TimestampUs time = times(random);
        ASSERT_EQ(parse_utc(format_utc(time)), time) << format_utc(time);
    }
}

TEST(ParseUtc, SurvivesRandomDamage) {
    std::mt19937 random(7);
    const std::string valid = "2026-03-01T12:15:00.123456+01:30";
    for (int i = 0; i < 200'000; ++i) {
        std::string text = valid.substr(0, random() % (valid.size() + 1));
        for (unsigned edits = random() % 4; edits > 0 && !text.empty(); --edits) {
            text[random() % text.size()] = static_cast<char>(random() % 256);
        }
        const auto time = parse_utc(text);
        ASSERT_TRUE(!time || is_finite(*time)) << text;
    }
}

TEST(AddSeconds, StopsAtTheEndsOfTheRange) {
    EXPECT_EQ(add_seconds(0, 1), kMicrosPerSecond);
    EXPECT_EQ(add_seconds(0, -1), -kMicrosPerSecond);
    EXPECT_EQ(add_seconds(kTimestampMax, 1), kTimestampMax);
    EXPECT_EQ(add_seconds(kTimestampMin, -1), kTimestampMin);
    EXPECT_EQ(add_seconds(kTimestampInfinity, 0), kTimestampMax);
    EXPECT_EQ(add_seconds(kTimestampNegInfinity, 0), kTimestampMin);
    EXPECT_EQ(add_seconds(0, INT64_MAX), kTimestampMax);
    EXPECT_EQ(add_seconds(0, INT64_MIN), kTimestampMin);
    EXPECT_EQ(add_seconds(kTimestampInfinity, INT64_MIN), kTimestampMin);
    EXPECT_EQ(add_seconds(kTimestampNegInfinity, INT64_MAX), kTimestampMax);
}

}  // namespace
}  // namespace sync_engine

// Cron expressions: what they mean, and what is refused.
#include <random>

#include "core_cron_support.hpp"

namespace sync_engine {
namespace {

constexpr std::uint64_t kSixty = (std::uint64_t{1} << 60) - 1;

LocalSeconds local(const char* text) {
    return utc_seconds(text);
}

std::string after(const char* expression, const char* from) {
    const auto found = cron_at_or_after(cron(expression), local(from) + 1);
    return found ? format_utc(*found * kMicrosPerSecond) : "never";
}

std::string before(const char* expression, const char* from) {
    const auto found = cron_at_or_before(cron(expression), local(from) - 1);
    return found ? format_utc(*found * kMicrosPerSecond) : "never";
}

TEST(CronText, Fields) {
    const CronExpression all = cron("* * * * *");
    EXPECT_EQ(all.seconds, 1U);
    EXPECT_EQ(all.minutes, kSixty);
    EXPECT_EQ(all.hours, 0xFFFFFFU);
    EXPECT_EQ(all.days, 0xFFFFFFFEU);
    EXPECT_EQ(all.months, 0x1FFEU);
    EXPECT_EQ(all.weekdays, 0x7FU);
    EXPECT_TRUE(all.every_hour);
    EXPECT_FALSE(all.has_seconds);
    EXPECT_EQ(cron("*/15 1,3-5 * jan,DEC *").minutes,
              1U | 1U << 15 | std::uint64_t{1} << 30 | std::uint64_t{1} << 45);
    EXPECT_EQ(cron("*/15 1,3-5 * jan,DEC *").hours, 0b111010U);
    EXPECT_EQ(cron("*/15 1,3-5 * jan,DEC *").months, 1U << 1 | 1U << 12);
    EXPECT_EQ(cron("10-30/10 5/6 * * *").hours, 1U << 5 | 1U << 11 | 1U << 17 | 1U << 23);
    EXPECT_EQ(cron("0 0 * * 0").weekdays, cron("0 0 * * 7").weekdays);
    EXPECT_EQ(cron("0 0 * * fri-sun").weekdays, 1U << 5 | 1U << 6 | 1U);
    EXPECT_EQ(cron("0 0 * * 5-7").weekdays, 1U << 5 | 1U << 6 | 1U);
    EXPECT_EQ(cron("0 0 * * 7/2").weekdays, cron("0 0 * * SUN/2").weekdays);
    EXPECT_EQ(cron("0 0 * * SUN/2").weekdays, 1U | 1U << 2 | 1U << 4 | 1U << 6);
    EXPECT_EQ(cron("0 0 ? * MON").any_day, true);
    EXPECT_EQ(cron("30 0 0 1 1 *").seconds, std::uint64_t{1} << 30);
    EXPECT_TRUE(cron("0 */2 * * *").every_hour);
    EXPECT_FALSE(cron("0 0-23 * * *").every_hour);
    EXPECT_EQ(cron("  0\t0  1 1  * ").days, 2U);
    EXPECT_EQ(after("@Hourly", "2026-03-01T10:30:00Z"), "2026-03-01T11:00:00Z");
}

TEST(CronText, FaultsSayWhatIsWrong) {
    const std::pair<const char*, const char*> kFaults[] = {
        {"", "five fields, or six with seconds, not 0"},
        {"* * * *", "not 4"},
        {"* * * * * * *", "not 7"},
        {"60 * * * *", "60 is out of its range"},
        {"* 24 * * *", "the hour field cannot be \"24\""},
        {"* * 0 * *", "0 is out of its range"},
        {"* * 32 * *", "32 is out of its range"},
        {"* * * 13 *", "13 is out of its range"},
        {"* * * * 8", "8 is out of its range"},
        {"5-1 * * * *", "runs backwards"},
        {"* * * * SAT-TUE", "runs backwards"},
        {"*/0 * * * *", "a step is a number from 1 on"},
        {"*/x * * * *", "a step is a number from 1 on"},
        {"1,,2 * * * *", "a value is missing"},
        {"-1 * * * *", "a value is missing"},
        {"1- * * * *", "a value is missing"},
        {"1.5 * * * *", "is no value of it"},
        {"* * * FOO *", "is no value of it"},
        {"* * L-31 * *", "up to 30"},
        {"* * 32W * *", "out of its range"},
        {"* * * * MON#6", "1 to 5"},
        {"* * * * MON#0", "1 to 5"},
        {"* * * * L", "the last of which weekday"},
        {"99999999999 * * * *", "is no value of it"},
        {"@reboot", "\"@reboot\" is not known"},
    };
    for (const auto& [text, message] : kFaults) {
        const auto parsed = parse_cron(text);
        const auto* fault = std::get_if<CronFault>(&parsed);
        ASSERT_NE(fault, nullptr) << text;
        EXPECT_NE(fault->message.find(message), std::string::npos) << text << ": " << fault->message;
        EXPECT_FALSE(fault->hint.empty());
    }
    const auto longest = parse_cron(std::string(5000, '1'));
    EXPECT_TRUE(std::holds_alternative<CronFault>(longest));
}

TEST(CronCalendar, Jumps) {
    EXPECT_EQ(after("* * * * *", "2026-03-01T10:15:00Z"), "2026-03-01T10:16:00Z");
    EXPECT_EQ(after("30 2 * * *", "2026-03-01T02:30:00Z"), "2026-03-02T02:30:00Z");
    EXPECT_EQ(after("0 0 29 2 *", "2026-03-01T00:00:00Z"), "2028-02-29T00:00:00Z");
    EXPECT_EQ(after("0 0 29 2 *", "2096-03-01T00:00:00Z"), "2104-02-29T00:00:00Z");
    EXPECT_EQ(after("59 23 31 12 *", "2026-12-31T23:59:00Z"), "2027-12-31T23:59:00Z");
    EXPECT_EQ(after("15 30 10 * * *", "2026-03-01T10:30:15Z"), "2026-03-02T10:30:15Z");
    EXPECT_EQ(before("0 0 29 2 *", "2026-03-01T00:00:00Z"), "2024-02-29T00:00:00Z");
    EXPECT_EQ(before("30 2 * * *", "2026-03-01T02:30:00Z"), "2026-02-28T02:30:00Z");
    EXPECT_EQ(before("*/7 * * * *", "2026-03-01T00:00:00Z"), "2026-02-28T23:56:00Z");
}

TEST(CronCalendar, WhatCanNeverFire) {
    for (const char* text : {"0 0 31 2 *", "0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 31W 2 *"}) {
        EXPECT_EQ(after(text, "2026-03-01T00:00:00Z"), "never") << text;
        EXPECT_EQ(before(text, "2026-03-01T00:00:00Z"), "never") << text;
    }
    // Vixie's rule: a weekday is enough.
    EXPECT_EQ(after("0 0 31 2 MON", "2026-03-01T00:00:00Z"), "2027-02-01T00:00:00Z");
}

TEST(CronCalendar, DayOfMonthOrDayOfWeek) {
    // 2026-03-01 is a Sunday.
    EXPECT_EQ(cron_days(cron("0 0 13 * FRI"), 2026, 3), 1U << 6 | 1U << 13 | 1U << 20 | 1U << 27);
    EXPECT_EQ(cron_days(cron("0 0 * * FRI"), 2026, 3), 1U << 6 | 1U << 13 | 1U << 20 | 1U << 27);
    EXPECT_EQ(cron_days(cron("0 0 13 * *"), 2026, 3), 1U << 13);
    // A field that begins with a star restricts the other.
    EXPECT_EQ(cron_days(cron("0 0 */2 * SUN"), 2026, 3), 1U << 1 | 1U << 15 | 1U << 29);
}

TEST(CronCalendar, LastNearestAndNth) {
    EXPECT_EQ(cron_days(cron("0 0 L * *"), 2026, 2), 1U << 28);
    EXPECT_EQ(cron_days(cron("0 0 L * *"), 2028, 2), 1U << 29);
    EXPECT_EQ(cron_days(cron("0 0 L-3 * *"), 2026, 3), 1U << 28);
    EXPECT_EQ(cron_days(cron("0 0 L-30 * *"), 2026, 4), 0U);
    // March 1 and 15 are Sundays, March 14 and 28 Saturdays; May 31 is a Sunday.
    EXPECT_EQ(cron_days(cron("0 0 1W * *"), 2026, 3), 1U << 2);
    EXPECT_EQ(cron_days(cron("0 0 14W * *"), 2026, 3), 1U << 13);
    EXPECT_EQ(cron_days(cron("0 0 15W * *"), 2026, 3), 1U << 16);
    EXPECT_EQ(cron_days(cron("0 0 31W * *"), 2026, 5), 1U << 29);
    EXPECT_EQ(cron_days(cron("0 0 1W * *"), 2026, 8), 1U << 3);
    EXPECT_EQ(cron_days(cron("0 0 LW * *"), 2026, 5), 1U << 29);
    EXPECT_EQ(cron_days(cron("0 0 * * SUN#1"), 2026, 3), 1U << 1);
    EXPECT_EQ(cron_days(cron("0 0 * * SUN#5"), 2026, 3), 1U << 29);
    EXPECT_EQ(cron_days(cron("0 0 * * MON#5"), 2026, 2), 0U);
    EXPECT_EQ(cron_days(cron("0 0 * * FRIL"), 2026, 3), 1U << 27);
    EXPECT_EQ(cron_days(cron("0 0 * * 7L,1#1"), 2026, 3), 1U << 29 | 1U << 2);
}

std::string random_field(std::mt19937_64& random, int low, int high) {
    const auto pick = [&random](int from, int to) {
        return std::uniform_int_distribution<int>(from, to)(random);
    };
    switch (pick(0, 4)) {
        case 0:
            return "*";
        case 1:
            return "*/" + std::to_string(pick(1, high));
        case 2: {
            const int first = pick(low, high);
            return std::to_string(first) + "-" + std::to_string(pick(first, high));
        }
        case 3:
            return std::to_string(pick(low, high)) + "," + std::to_string(pick(low, high));
        default:
            return std::to_string(pick(low, high));
    }
}

std::string random_expression(std::mt19937_64& random, bool seconds) {
    return (seconds ? random_field(random, 0, 59) + " " : "") + random_field(random, 0, 59) + " " +
           random_field(random, 0, 23) + " " + random_field(random, 1, 31) + " " +
           random_field(random, 1, 12) + " " + random_field(random, 0, 6);
}

// Against a walk from minute to minute, or from second to second.
TEST(CronCalendar, NothingLiesBetween) {
    std::mt19937_64 random(1);
    const int cases = random_cases(3000, 60'000);
    for (int i = 0; i < cases; ++i) {
        const bool seconds = i % 4 == 0;
        const std::string text = random_expression(random, seconds);
        const CronExpression expression = cron(text);
        const LocalSeconds from = std::uniform_int_distribution<LocalSeconds>(0, 3'000'000'000)(random);
        const auto next = cron_at_or_after(expression, from);
        if (!next) {
            EXPECT_EQ(expression.months & 0b101001010100U, expression.months) << text;
            continue;
        }
        ASSERT_TRUE(cron_matches(expression, *next)) << text;
        ASSERT_GE(*next, from);
        const LocalSeconds step = seconds ? 1 : 60;
        const LocalSeconds begin = seconds ? from : (from + 59) / 60 * 60;
        for (LocalSeconds t = begin; t < *next && t < begin + 20'000 * step; t += step) {
            ASSERT_FALSE(cron_matches(expression, t)) << text << " at " << format_utc(t * kMicrosPerSecond);
        }
        EXPECT_EQ(cron_at_or_before(expression, *next), next) << text;
        const auto later = cron_at_or_after(expression, *next + 1);
        ASSERT_TRUE(later.has_value()) << text;
        EXPECT_EQ(cron_at_or_before(expression, *later - 1), next) << text;
    }
}

TEST(CronText, Descriptions) {
    const std::pair<const char*, const char*> kTexts[] = {
        {"* * * * *", "every minute"},
        {"*/15 * * * *", "every 15 minutes"},
        {"0 * * * *", "at minute 0 of every hour"},
        {"30 2 * * *", "at 02:30"},
        {"0 2,14 * * MON-FRI", "at 02:00 and 14:00 on Monday to Friday"},
        {"0 0 1,15 * *", "at 00:00 on the 1st and the 15th of the month"},
        {"0 0 13 * FRI", "at 00:00 on the 13th of the month and on Friday"},
        {"0 0 */2 * SUN",
         "at 00:00 on the 1st, the 3rd, the 5th, the 7th, the 9th, the 11th, the 13th, the 15th, "
         "the 17th, the 19th, the 21st, the 23rd, the 25th, the 27th, the 29th and the 31st of the "
         "month if it is Sunday"},
        {"0 9 L * *", "at 09:00 on the last day of the month"},
        {"0 9 LW 3,6 *", "at 09:00 on the last working day of the month in March and June"},
        {"0 9 * * MON#2,FRIL", "at 09:00 on the second Monday and the last Friday"},
        {"0 9 * * 6,0", "at 09:00 on Saturday and Sunday"},
        {"0 */6 * * *", "at 00:00, 06:00, 12:00 and 18:00"},
        {"5 */2 * * *", "at minute 5 of every 2nd hour"},
        {"*/10 9-17 * * *", "every 10 minutes of the hours 9 to 17"},
        {"30 0 2 * * *", "at second 30 of 02:00"},
        {"*/5 * * * * *", "every 5 seconds of every minute"},
    };
    for (const auto& [text, description] : kTexts) {
        EXPECT_EQ(describe_cron(cron(text)), description) << text;
    }
}

}  // namespace
}  // namespace sync_engine

// Cron expressions in time zones: what the clocks skip, repeat and leave.
#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "core_cron_support.hpp"

namespace sync_engine {
namespace {

constexpr CronPolicy kDefault = {};
constexpr CronPolicy kSkip = {DstGap::skip, DstFold::first};
constexpr CronPolicy kSecond = {DstGap::run_after, DstFold::second};
constexpr CronPolicy kBoth = {DstGap::run_after, DstFold::both};

std::string next(const char* expression, const TimeZone& zone, std::string_view after,
                 CronPolicy policy = kDefault) {
    const auto found = cron_next(cron(expression), zone, utc(after), policy);
    return found ? format_utc(*found) : "never";
}

std::string previous(const char* expression, const TimeZone& zone, std::string_view before,
                     CronPolicy policy = kDefault) {
    const auto found = cron_previous(cron(expression), zone, utc(before), policy);
    return found ? format_utc(*found) : "never";
}

TEST(CronZone, FollowsTheWallClock) {
    const ListedZone zone = new_york();
    EXPECT_EQ(next("0 9 * * *", zone, "2026-03-07T14:00:00Z"), "2026-03-08T13:00:00Z");
    EXPECT_EQ(next("0 9 * * *", zone, "2026-10-31T13:00:00Z"), "2026-11-01T14:00:00Z");
    EXPECT_EQ(previous("0 9 * * *", zone, "2026-03-08T13:00:00Z"), "2026-03-07T14:00:00Z");
    // Strictly later, also by a microsecond.
    EXPECT_EQ(next("0 9 * * *", zone, "2026-03-07T13:59:59.999999Z"), "2026-03-07T14:00:00Z");
    EXPECT_EQ(previous("0 9 * * *", zone, "2026-03-07T14:00:00.000001Z"), "2026-03-07T14:00:00Z");
    EXPECT_EQ(previous("0 9 * * *", zone, "2026-03-07T14:00:00Z"), "2026-03-06T14:00:00Z");
}

TEST(CronZone, TimesThatAreSkippedRunRightAfter) {
    const ListedZone zone = new_york();
    EXPECT_EQ(next("30 2 * * *", zone, "2026-03-08T00:00:00Z"), "2026-03-08T07:00:00Z");
    EXPECT_EQ(next("30 2 * * *", zone, "2026-03-08T07:00:00Z"), "2026-03-09T06:30:00Z");
    EXPECT_EQ(previous("30 2 * * *", zone, "2026-03-09T06:30:00Z"), "2026-03-08T07:00:00Z");
    EXPECT_EQ(previous("30 2 * * *", zone, "2026-03-08T07:00:00Z"), "2026-03-07T07:30:00Z");
    // Several that meet make one run, with one that lies there anyway.
    EXPECT_EQ(next("*/10 2,3 * * *", zone, "2026-03-08T06:59:00Z"), "2026-03-08T07:00:00Z");
    EXPECT_EQ(next("*/10 2,3 * * *", zone, "2026-03-08T07:00:00Z"), "2026-03-08T07:10:00Z");
}

TEST(CronZone, OrAreLeftOut) {
    const ListedZone zone = new_york();
    EXPECT_EQ(next("30 2 * * *", zone, "2026-03-08T00:00:00Z", kSkip), "2026-03-09T06:30:00Z");
    EXPECT_EQ(previous("30 2 * * *", zone, "2026-03-09T06:30:00Z", kSkip), "2026-03-07T07:30:00Z");
    EXPECT_EQ(next("*/10 2,3 * * *", zone, "2026-03-08T06:59:00Z", kSkip), "2026-03-08T07:00:00Z");
}

TEST(CronZone, TimesThatOccurTwice) {
    const ListedZone zone = new_york();
    EXPECT_EQ(next("30 1 * * *", zone, "2026-11-01T00:00:00Z"), "2026-11-01T05:30:00Z");
    EXPECT_EQ(next("30 1 * * *", zone, "2026-11-01T05:30:00Z"), "2026-11-02T06:30:00Z");
    EXPECT_EQ(previous("30 1 * * *", zone, "2026-11-02T06:30:00Z"), "2026-11-01T05:30:00Z");
    EXPECT_EQ(next("30 1 * * *", zone, "2026-11-01T00:00:00Z", kSecond), "2026-11-01T06:30:00Z");
    EXPECT_EQ(previous("30 1 * * *", zone, "2026-11-02T06:30:00Z", kSecond), "2026-11-01T06:30:00Z");
    EXPECT_EQ(previous("30 1 * * *", zone, "2026-11-01T06:30:00Z", kSecond), "2026-10-31T05:30:00Z");
    EXPECT_EQ(next("30 1 * * *", zone, "2026-11-01T05:30:00Z", kBoth), "2026-11-01T06:30:00Z");
    EXPECT_EQ(previous("30 1 * * *", zone, "2026-11-01T06:30:00Z", kBoth), "2026-11-01T05:30:00Z");
    // The ends of the hour that is repeated.
    EXPECT_EQ(next("0 1,2 * * *", zone, "2026-11-01T05:00:00Z"), "2026-11-01T07:00:00Z");
    EXPECT_EQ(next("0 1,2 * * *", zone, "2026-11-01T05:00:00Z", kBoth), "2026-11-01T06:00:00Z");
}

TEST(CronZone, EveryHourFollowsRealTime) {
    const ListedZone zone = new_york();
    EXPECT_EQ(next("30 * * * *", zone, "2026-03-08T06:30:00Z"), "2026-03-08T07:30:00Z");
    EXPECT_EQ(next("30 * * * *", zone, "2026-11-01T05:30:00Z"), "2026-11-01T06:30:00Z");
    EXPECT_EQ(next("30 */2 * * *", zone, "2026-03-08T05:30:00Z"), "2026-03-08T08:30:00Z");
    EXPECT_EQ(previous("30 * * * *", zone, "2026-11-01T06:30:00Z", kSecond), "2026-11-01T05:30:00Z");
}

TEST(CronZone, MidnightAndWholeDaysMayBeSkipped) {
    // Samoa had no December 30 in 2011; Beirut went from 00:00 to 01:00 on 2026-03-29.
    const ListedZone samoa(-10 * 3600, {{utc_seconds("2011-12-30T10:00:00Z"), 14 * 3600}});
    EXPECT_EQ(next("0 12 * * *", samoa, "2011-12-29T22:00:00Z"), "2011-12-30T10:00:00Z");
    EXPECT_EQ(next("0 12 * * *", samoa, "2011-12-30T10:00:00Z"), "2011-12-30T22:00:00Z");
    EXPECT_EQ(next("0 12 30 12 *", samoa, "2011-12-29T22:00:00Z"), "2011-12-30T10:00:00Z");
    EXPECT_EQ(next("0 12 30 12 *", samoa, "2011-12-29T22:00:00Z", kSkip), "2012-12-29T22:00:00Z");
    EXPECT_EQ(previous("0 12 30 12 *", samoa, "2012-01-01T00:00:00Z"), "2011-12-30T10:00:00Z");
    const ListedZone beirut(2 * 3600, {{utc_seconds("2026-03-28T22:00:00Z"), 3 * 3600}});
    EXPECT_EQ(next("0 0 * * *", beirut, "2026-03-28T12:00:00Z"), "2026-03-28T22:00:00Z");
    EXPECT_EQ(next("0 0 * * *", beirut, "2026-03-28T22:00:00Z"), "2026-03-29T21:00:00Z");
}

TEST(CronZone, ThereIsNoEndToSearchFor) {
    const ListedZone zone = new_york();
    EXPECT_EQ(next("0 0 31 2 *", zone, "2026-03-01"), "never");
    EXPECT_EQ(previous("0 0 31 2 *", zone, "2026-03-01"), "never");
    EXPECT_EQ(next("0 0 29 2 *", zone, "2026-03-01"), "2028-02-29T05:00:00Z");
    // What lies in a gap each time it comes is looked for no longer than the calendar's cycle takes.
    std::vector<ListedZone::Change> changes;
    for (int year = 2026; year < 2700; ++year) {
        const InstantSeconds day = days_from_civil(year, 3, 1) * 86'400;
        changes.push_back({day, 3600});
        changes.push_back({day + 100 * 86'400, 0});
    }
    const ListedZone gaps(0, changes);
    EXPECT_EQ(next("30 0 1 3 *", gaps, "2026-01-01", kSkip), "2700-03-01T00:30:00Z");
    EXPECT_EQ(next("30 0 1 3 *", gaps, "2026-01-01"), "2026-03-01T00:00:00Z");
    const auto beyond = cron_next(cron("* * * * *"), zone, kTimestampMax - kMicrosPerSecond, kDefault);
    EXPECT_FALSE(beyond.has_value());
    EXPECT_FALSE(cron_next(cron("* * * * *"), zone, kTimestampInfinity, kDefault).has_value());
    EXPECT_FALSE(cron_previous(cron("* * * * *"), zone, kTimestampNegInfinity, kDefault).has_value());
    EXPECT_FALSE(cron_previous(cron("* * * * *"), zone, kTimestampMin, kDefault).has_value());
}

// What the policies say, told minute by minute: each local time of the span between the changes counts as
// they say, and each that was skipped runs when the gap ends.
std::set<InstantSeconds> all_runs(const CronExpression& expression, const ListedZone& zone,
                                  InstantSeconds from, InstantSeconds to, CronPolicy policy) {
    std::set<InstantSeconds> runs;
    std::map<LocalSeconds, std::pair<InstantSeconds, InstantSeconds>> first_and_last;
    for (InstantSeconds u = from; u < to; u += 60) {
        first_and_last.try_emplace(u + zone.span_at(u).offset, u, u).first->second.second = u;
    }
    for (const auto& [time, instants] : first_and_last) {
        if (!cron_matches(expression, time)) {
            continue;
        }
        const bool both = expression.every_hour || policy.fold == DstFold::both;
        if (both || policy.fold == DstFold::first) {
            runs.insert(instants.first);
        }
        if (both || policy.fold == DstFold::second) {
            runs.insert(instants.second);
        }
    }
    for (const auto& [begin, offset] : zone.changes()) {
        if (begin <= from || begin >= to || expression.every_hour || policy.gap == DstGap::skip) {
            continue;
        }
        for (LocalSeconds time = begin + zone.span_at(begin - 1).offset; time < begin + offset; time += 60) {
            if (cron_matches(expression, time)) {
                runs.insert(begin);
            }
        }
    }
    return runs;
}

TEST(CronZone, PoliciesHoldInZonesOfAllSorts) {
    std::mt19937_64 random(2);
    const auto pick = [&random](int low, int high) {
        return std::uniform_int_distribution<int>(low, high)(random);
    };
    const char* kExpressions[] = {"30 2 * * *",  "*/20 1-3 * * *", "0 0 * * *",   "15 * * * *",
                                  "0 */3 * * *", "59 23 * * *",    "0 1,2 * * 0", "7 0-5 */2 * *"};
    const int zones = random_cases(50, 1500);
    for (int i = 0; i < zones; ++i) {
        const InstantSeconds start = utc_seconds("2026-06-01T00:00:00Z");
        const int first = pick(-24, 24) * 1800;
        std::vector<ListedZone::Change> changes;
        int offset = first;
        InstantSeconds at = start + 86'400;
        for (int n = 0; n < 3; ++n) {
            at += pick(3 * 1440, 5 * 1440) * 60;
            offset = std::clamp(offset + pick(-6, 6) * 1800, -14 * 3600, 14 * 3600);
            changes.push_back({at, offset});
        }
        const ListedZone zone(first, changes);
        for (const char* text : kExpressions) {
            const CronExpression expression = cron(text);
            const CronPolicy policy = {pick(0, 1) == 0 ? DstGap::run_after : DstGap::skip,
                                       pick(0, 2) == 0   ? DstFold::first
                                       : pick(0, 1) == 0 ? DstFold::second
                                                         : DstFold::both};
            // The ends are left out: what lies beyond them is not seen there.
            const InstantSeconds from = start;
            const InstantSeconds to = at + 3 * 86'400;
            const auto expected = all_runs(expression, zone, from - 2 * 86'400, to + 2 * 86'400, policy);
            std::set<InstantSeconds> forward;
            std::set<InstantSeconds> backward;
            for (auto t = cron_next(expression, zone, (from - 1) * kMicrosPerSecond, policy);
                 t && *t < to * kMicrosPerSecond; t = cron_next(expression, zone, *t, policy)) {
                forward.insert(*t / kMicrosPerSecond);
            }
            for (auto t = cron_previous(expression, zone, to * kMicrosPerSecond, policy);
                 t && *t >= from * kMicrosPerSecond; t = cron_previous(expression, zone, *t, policy)) {
                backward.insert(*t / kMicrosPerSecond);
            }
            const std::set<InstantSeconds> wanted(expected.lower_bound(from), expected.lower_bound(to));
            ASSERT_EQ(forward, wanted) << text << ", zone " << i;
            ASSERT_EQ(backward, wanted) << text << ", zone " << i;
        }
    }
}

std::int64_t count(const char* expression, const TimeZone& zone, std::string_view after,
                   std::string_view until, CronPolicy policy = kDefault) {
    return cron_count(cron(expression), zone, utc(after), utc(until), policy);
}

TEST(CronCount, CountsAfterTheFirstUpToTheLast) {
    const ListedZone utc_zone(0, {});
    EXPECT_EQ(count("0 0 * * *", utc_zone, "2026-01-01T00:00:00Z", "2026-01-03T00:00:00Z"), 2);
    EXPECT_EQ(count("0 0 * * *", utc_zone, "2025-12-31T23:59:59.999999Z", "2026-01-02T23:59:59.999999Z"), 2);
    EXPECT_EQ(count("0 0 * * *", utc_zone, "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"), 0);
    EXPECT_EQ(count("0 0 * * *", utc_zone, "2026-01-03T00:00:00Z", "2026-01-01T00:00:00Z"), 0);
    EXPECT_EQ(count("0 0 31 2 *", utc_zone, "2026-01-01T00:00:00Z", "2426-01-01T00:00:00Z"), 0);
    EXPECT_EQ(count("* * * * * *", utc_zone, "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"), 31'536'000);
    EXPECT_EQ(count("0 0 29 2 *", utc_zone, "2000-01-01T00:00:00Z", "2400-01-01T00:00:00Z"), 97);
    EXPECT_EQ(count("* * * * *", utc_zone, "1969-12-31T00:00:00Z", "1970-01-02T00:00:00Z"), 2 * 1440);
    const CronExpression all = cron("0 0 * * *");
    EXPECT_EQ(cron_count(all, utc_zone, kTimestampInfinity, kTimestampInfinity, kDefault), 0);
    EXPECT_EQ(cron_count(all, utc_zone, kTimestampMax, kTimestampInfinity, kDefault), 0);
}

TEST(CronCount, CountsWhatTheClocksSkipAndRepeat) {
    const ListedZone zone = new_york();
    EXPECT_EQ(count("30 2 * * *", zone, "2026-03-07T00:00:00Z", "2026-03-10T00:00:00Z"), 3);
    EXPECT_EQ(count("30 2 * * *", zone, "2026-03-07T00:00:00Z", "2026-03-10T00:00:00Z", kSkip), 2);
    EXPECT_EQ(count("30 1 * * *", zone, "2026-10-31T00:00:00Z", "2026-11-03T00:00:00Z"), 3);
    EXPECT_EQ(count("30 1 * * *", zone, "2026-10-31T00:00:00Z", "2026-11-03T00:00:00Z", kBoth), 4);
    // A year of an expression that follows real time has as many hours as a year has.
    EXPECT_EQ(count("0 * * * *", zone, "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z", kSecond), 8760);
    EXPECT_EQ(count("* * * * * *", zone, "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"), 31'536'000);
}

TEST(CronCount, IsWhatCountingOneByOneFinds) {
    std::mt19937_64 random(3);
    const auto pick = [&random](int low, int high) {
        return std::uniform_int_distribution<int>(low, high)(random);
    };
    const auto list = [&pick](int low, int high) {
        std::string field = std::to_string(pick(low, high));
        for (int n = pick(0, 2); n > 0; --n) {
            field += "," + std::to_string(pick(low, high));
        }
        return field;
    };
    const char* kHours[] = {"*", "*/5", "1-3", "0", "23"};
    const char* kDays[] = {"* * *",   "* * *",   "*/2 * *",    "L * *",
                           "15W * *", "* * 1-5", "1,15 * SUN", "* * FRI#2"};
    const InstantSeconds start = utc_seconds("2026-06-01T00:00:00Z");
    for (int i = 0; i < 400; ++i) {
        const ListedZone zone = random_zone(random, start, 6);
        const std::string text =
            (pick(0, 3) == 0 ? list(0, 59) + " " : "") + (pick(0, 2) == 0 ? "*/10" : list(0, 59)) + " " +
            (pick(0, 1) == 0 ? kHours[pick(0, 4)] : list(0, 23)) + " " + kDays[pick(0, 7)];
        const CronExpression expression = cron(text);
        const CronPolicy policy = random_policy(random);
        // Ends of both sorts: anywhere, and next to a change of the clocks.
        const auto end = [&] {
            const auto& changes = zone.changes();
            const InstantSeconds near = changes[pick(1, static_cast<int>(changes.size()) - 1)].from;
            return (pick(0, 1) == 0 ? near + pick(-90'000, 90'000) : start + pick(0, 100 * 86'400)) *
                       kMicrosPerSecond +
                   pick(-1, 1);
        };
        const TimestampUs one = end();
        const TimestampUs other = end();
        const TimestampUs from = std::min(one, other);
        const TimestampUs to = std::max(one, other);
        const std::vector<TimestampUs> found = listed_runs(expression, zone, from, to, policy);
        ASSERT_EQ(cron_count(expression, zone, from, to, policy), static_cast<std::int64_t>(found.size()))
            << text << ", " << i << ", " << format_utc(from) << " to " << format_utc(to);
        // Counts of parts add up.
        const TimestampUs middle = from + (to - from) / 3;
        ASSERT_EQ(cron_count(expression, zone, from, middle, policy) +
                      cron_count(expression, zone, middle, to, policy),
                  static_cast<std::int64_t>(found.size()))
            << text << ", " << i;
    }
}

std::string gap_text(const std::optional<CronGap>& gap) {
    return gap ? format_utc(gap->end) + " " + format_utc(gap->first * kMicrosPerSecond) + " " +
                     format_utc(gap->last * kMicrosPerSecond)
               : "none";
}

TEST(CronGap, TellsWhatWasSkipped) {
    const ListedZone zone = new_york();
    const auto gap = [&zone](const char* text, std::string_view after, std::string_view until) {
        return gap_text(cron_next_gap(cron(text), zone, utc(after), utc(until)));
    };
    EXPECT_EQ(gap("30 2 * * *", "2026-01-01", "2027-01-01"),
              "2026-03-08T07:00:00Z 2026-03-08T02:30:00Z 2026-03-08T02:30:00Z");
    EXPECT_EQ(gap("*/10 1-3 * * *", "2026-01-01", "2027-01-01"),
              "2026-03-08T07:00:00Z 2026-03-08T02:00:00Z 2026-03-08T02:50:00Z");
    EXPECT_EQ(gap("30 3 * * *", "2026-01-01", "2027-01-01"), "none");
    EXPECT_EQ(gap("0 3 * * *", "2026-01-01", "2027-01-01"), "none");
    EXPECT_EQ(gap("30 1 * * *", "2026-01-01", "2027-01-01"), "none");
    EXPECT_EQ(gap("30 */2 * * *", "2026-01-01", "2027-01-01"), "none");
    EXPECT_EQ(gap("30 2 * * 1", "2026-01-01", "2027-01-01"), "none");
    // Later than `after`, not later than `until`.
    EXPECT_EQ(gap("30 2 * * *", "2026-03-08T07:00:00Z", "2027-01-01"), "none");
    EXPECT_NE(gap("30 2 * * *", "2026-03-08T06:59:59.999999Z", "2026-03-08T07:00:00Z"), "none");
    EXPECT_EQ(gap("30 2 * * *", "2026-03-08T06:00:00Z", "2026-03-08T06:59:59.999999Z"), "none");
    EXPECT_FALSE(cron_next_gap(cron("30 2 * * *"), zone, kTimestampInfinity, kTimestampInfinity));
}

TEST(CronGap, FindsEachInZonesOfAllSorts) {
    std::mt19937_64 random(4);
    const InstantSeconds start = utc_seconds("2026-06-01T00:00:00Z");
    for (int i = 0; i < 200; ++i) {
        const ListedZone zone = random_zone(random, start, 6);
        for (const char* text :
             {"30 2 * * *", "*/20 1-3 * * *", "0 0,12 * * *", "59 23 * * *", "15 * * * *"}) {
            const CronExpression expression = cron(text);
            std::vector<std::string> expected;
            for (const auto& [begin, offset] : zone.changes()) {
                if (begin < start || expression.every_hour) {
                    continue;
                }
                std::vector<LocalSeconds> skipped;
                for (LocalSeconds t = begin + zone.span_at(begin - 1).offset; t < begin + offset; t += 60) {
                    if (cron_matches(expression, t)) {
                        skipped.push_back(t);
                    }
                }
                if (!skipped.empty()) {
                    expected.push_back(
                        gap_text(CronGap{begin * kMicrosPerSecond, skipped.front(), skipped.back()}));
                    ASSERT_EQ(cron_count_local(expression, skipped.front(), skipped.back() + 1),
                              static_cast<std::int64_t>(skipped.size()));
                }
            }
            std::vector<std::string> found;
            const TimestampUs until = (start + 400 * 86'400) * kMicrosPerSecond;
            auto gap = cron_next_gap(expression, zone, start * kMicrosPerSecond, until);
            for (; gap; gap = cron_next_gap(expression, zone, gap->end, until)) {
                found.push_back(gap_text(gap));
            }
            ASSERT_EQ(found, expected) << text << ", zone " << i;
        }
    }
}

}  // namespace
}  // namespace sync_engine

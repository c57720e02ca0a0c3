// When connections run: every number of the specification, outages, and clocks that are out of their mind.
#include "core/schedule.hpp"

#include <random>
#include <string>

#include <gtest/gtest.h>

namespace sync_engine {
namespace {

std::string text(const std::optional<TimestampUs>& time) {
    return time ? format_utc(*time) : "none";
}

// A time of 2026-03-01, as "10:15" or "10:15:30".
TimestampUs today(const std::string& clock) {
    return parse_utc("2026-03-01T" + clock).value();
}

PlanInput input_at(const std::string& last, const std::string& now) {
    return {today(last), 900, std::nullopt, today(now), 0, 60};
}

void expect_slot(const RunPlan& plan, Verdict verdict, const char* slot, const char* next_run_at) {
    EXPECT_EQ(plan.verdict, verdict);
    EXPECT_EQ(text(plan.slot), format_utc(today(slot)));
    EXPECT_EQ(text(plan.next_run_at), format_utc(today(next_run_at)));
}

TEST(PlanRun, WorkedNumbers) {
    expect_slot(plan_run(input_at("10:00", "10:13")), Verdict::not_yet, "10:15", "10:15");
    expect_slot(plan_run(input_at("10:00", "10:14")), Verdict::look_ahead, "10:15", "10:30");
    expect_slot(plan_run(input_at("10:00", "10:20")), Verdict::catch_up, "10:15", "10:30");
    expect_slot(plan_run(input_at("10:00", "11:07")), Verdict::catch_up, "11:00", "11:15");
    expect_slot(plan_run(input_at("12:00", "12:15")), Verdict::catch_up, "12:15", "12:30");
}

TEST(PlanRun, SchedulesTheSlotPlusJitter) {
    PlanInput in = input_at("10:00", "10:14");
    in.jitter_seconds = 45;
    const RunPlan plan = plan_run(in);
    EXPECT_EQ(text(plan.scheduled_at), "2026-03-01T10:15:45Z");
    // Jitter does not move the slots that follow.
    EXPECT_EQ(text(plan.next_run_at), "2026-03-01T10:30:00Z");
}

TEST(PlanRun, NotYetSchedulesNothing) {
    const RunPlan plan = plan_run(input_at("10:00", "10:13:59"));
    EXPECT_EQ(plan.verdict, Verdict::not_yet);
    EXPECT_FALSE(plan.scheduled_at.has_value());
}

TEST(PlanRun, LooksAheadByTheTickInterval) {
    PlanInput in = input_at("10:00", "10:05");
    in.tick_interval_seconds = 600;
    EXPECT_EQ(plan_run(in).verdict, Verdict::look_ahead);
    in.as_of = today("10:04:59");
    EXPECT_EQ(plan_run(in).verdict, Verdict::not_yet);
    // But never by less than a minute.
    in = input_at("10:00", "10:14");
    in.tick_interval_seconds = 1;
    EXPECT_EQ(plan_run(in).verdict, Verdict::look_ahead);
    in.tick_interval_seconds = -5;
    EXPECT_EQ(plan_run(in).verdict, Verdict::look_ahead);
}

TEST(PlanRun, BoundariesAreExactToTheMicrosecond) {
    PlanInput in = input_at("10:00", "10:15");
    EXPECT_EQ(plan_run(in).verdict, Verdict::catch_up);
    in.as_of -= 1;
    EXPECT_EQ(plan_run(in).verdict, Verdict::look_ahead);
    in.as_of = today("10:14");
    EXPECT_EQ(plan_run(in).verdict, Verdict::look_ahead);
    in.as_of -= 1;
    EXPECT_EQ(plan_run(in).verdict, Verdict::not_yet);
    in.as_of = today("10:30") - 1;
    EXPECT_EQ(text(plan_run(in).slot), "2026-03-01T10:15:00Z");
    in.as_of += 1;
    EXPECT_EQ(text(plan_run(in).slot), "2026-03-01T10:30:00Z");
}

TEST(Bootstrap, IsEligibleAtOnce) {
    const RunPlan plan = plan_run({std::nullopt, 900, today("12:00"), today("12:07"), 30, 60});
    EXPECT_EQ(plan.verdict, Verdict::bootstrap);
    EXPECT_EQ(text(plan.slot), "2026-03-01T12:07:00Z");
    EXPECT_EQ(text(plan.scheduled_at), "2026-03-01T12:07:30Z");
    EXPECT_EQ(text(plan.next_run_at), "2026-03-01T12:15:30Z");
}

TEST(Bootstrap, WaitsNoLongerThanATick) {
    const RunPlan plan = plan_run({std::nullopt, 900, today("12:00"), today("12:00"), 180, 60});
    EXPECT_EQ(text(plan.scheduled_at), "2026-03-01T12:01:00Z");
    EXPECT_EQ(text(plan.next_run_at), "2026-03-01T12:18:00Z");
}

TEST(Bootstrap, WithoutActivationReckonsFromNow) {
    const RunPlan plan = plan_run({std::nullopt, 900, std::nullopt, today("12:00"), 0, 60});
    EXPECT_EQ(text(plan.next_run_at), "2026-03-01T12:15:00Z");
}

TEST(CatchUp, OneJobHoweverLongTheOutage) {
    PlanInput in = input_at("10:00", "10:00");
    for (const std::int64_t hours : {1, 24, 24 * 365, 24 * 365 * 100}) {
        in.as_of = add_seconds(*in.last_finished, hours * 3'600 + 61);
        const RunPlan plan = plan_run(in);
        EXPECT_EQ(plan.verdict, Verdict::catch_up);
        EXPECT_EQ(*plan.slot, in.as_of - 61 * kMicrosPerSecond);
        EXPECT_EQ(*plan.next_run_at, *plan.slot + 900 * kMicrosPerSecond);
    }
}

// A connection that is ticked every minute and whose runs end ten seconds after they were scheduled.
TEST(SteadyState, RunsOncePerInterval) {
    TimestampUs last = today("00:00");
    TimestampUs finishes = kTimestampMax;
    int runs = 0;
    std::mt19937_64 random(3);
    for (TimestampUs now = today("00:00"); now < today("00:00") + 86'400 * kMicrosPerSecond;
         now += 60 * kMicrosPerSecond) {
        if (finishes <= now) {
            last = finishes;
            finishes = kTimestampMax;
        }
        if (finishes != kTimestampMax) {
            continue;
        }
        const auto jitter = static_cast<std::int32_t>(random() % 181);
        const RunPlan plan = plan_run({last, 900, std::nullopt, now, jitter, 60});
        if (plan.verdict != Verdict::not_yet) {
            ++runs;
            EXPECT_LE(*plan.scheduled_at, last + (900 + 180) * kMicrosPerSecond);
            finishes = std::max(*plan.scheduled_at, now) + 10 * kMicrosPerSecond;
        }
    }
    // Between 86400 / (900 + 180 + 10 + a tick) and 86400 / 900.
    EXPECT_GE(runs, 75);
    EXPECT_LE(runs, 96);
}

TEST(Clock, GoingBackCountsAsFinishedNow) {
    expect_slot(plan_run(input_at("11:00", "10:00")), Verdict::not_yet, "10:15", "10:15");
    PlanInput in = input_at("11:00", "10:00");
    in.last_finished = kTimestampInfinity;
    expect_slot(plan_run(in), Verdict::not_yet, "10:15", "10:15");
}

TEST(Clock, BeforeTheEpochs) {
    PlanInput in = {parse_utc("1969-12-31T23:40:00Z"),  900, std::nullopt,
                    *parse_utc("1970-01-01T00:03:00Z"), 5,   60};
    EXPECT_EQ(text(plan_run(in).slot), "1969-12-31T23:55:00Z");
    EXPECT_EQ(text(plan_run(in).scheduled_at), "1969-12-31T23:55:05Z");
    in.last_finished = parse_utc("1999-12-31T23:50:00Z");
    in.as_of = *parse_utc("2000-01-01T00:06:00Z");
    EXPECT_EQ(text(plan_run(in).slot), "2000-01-01T00:05:00Z");
}

TEST(Clock, InfiniteNowPlansNothing) {
    for (const TimestampUs now :
         {kTimestampInfinity, kTimestampNegInfinity, kTimestampEnd, kTimestampMin - 1}) {
        for (const auto last : {std::optional<TimestampUs>(), std::optional<TimestampUs>(0)}) {
            const RunPlan plan = plan_run({last, 900, std::nullopt, now, 5, 60});
            EXPECT_EQ(plan.verdict, Verdict::not_yet);
            EXPECT_FALSE(plan.slot || plan.scheduled_at || plan.next_run_at);
        }
    }
}

TEST(Clock, FromOneEndOfTimeToTheOther) {
    const RunPlan plan = plan_run({kTimestampNegInfinity, 900, std::nullopt, kTimestampMax, 180, 60});
    EXPECT_EQ(plan.verdict, Verdict::catch_up);
    EXPECT_EQ(text(plan.slot), "294276-12-31T23:45:00Z");
    EXPECT_EQ(text(plan.scheduled_at), "294276-12-31T23:48:00Z");
    EXPECT_EQ(plan.next_run_at, kTimestampMax);
}

TEST(Clock, AtTheEndOfTimeEverythingStopsThere) {
    const RunPlan plan = plan_run({kTimestampMax, 900, std::nullopt, kTimestampMax, 180, 60});
    EXPECT_EQ(plan.slot, kTimestampMax);
    EXPECT_EQ(plan.scheduled_at, kTimestampMax);
    EXPECT_EQ(plan.next_run_at, kTimestampMax);
    const RunPlan first = plan_run({std::nullopt, 900, kTimestampInfinity, kTimestampMax, 180, 60});
    EXPECT_EQ(first.scheduled_at, kTimestampMax);
    EXPECT_EQ(first.next_run_at, kTimestampMax);
}

TEST(Clock, InfiniteActivationBecomesFinite) {
    EXPECT_EQ(plan_run({std::nullopt, 900, kTimestampNegInfinity, 0, 0, 60}).next_run_at,
              kTimestampMin + 900 * kMicrosPerSecond);
    EXPECT_EQ(plan_run({std::nullopt, 900, kTimestampInfinity, 0, 0, 60}).next_run_at, kTimestampMax);
}

TEST(Nonsense, IntervalAndJitter) {
    for (const std::int32_t base : {0, -1, INT32_MIN}) {
        const RunPlan plan =
            plan_run({today("10:00"), base, std::nullopt, today("10:20"), INT32_MIN, INT32_MIN});
        EXPECT_EQ(text(plan.slot), "2026-03-01T10:20:00Z");
        EXPECT_EQ(plan.scheduled_at, plan.slot);
    }
    const RunPlan plan = plan_run({std::nullopt, INT32_MAX, std::nullopt, 0, INT32_MAX, INT32_MAX});
    EXPECT_EQ(plan.scheduled_at, INT32_MAX * kMicrosPerSecond);
    EXPECT_EQ(plan.next_run_at, 2LL * INT32_MAX * kMicrosPerSecond);
}

// Whatever goes in, what comes out is finite and keeps the rules.
TEST(Properties, HoldForRandomInput) {
    std::mt19937_64 random(20260301);
    std::uniform_int_distribution<TimestampUs> times(INT64_MIN, INT64_MAX);
    std::uniform_int_distribution<std::int32_t> seconds(60, 604'800);
    for (int i = 0; i < 300'000; ++i) {
        const TimestampUs now = clamp_finite(times(random));
        const std::int32_t base = seconds(random);
        const auto jitter = static_cast<std::int32_t>(random() % static_cast<unsigned>(base));
        // Half of the time near now, where the verdicts differ.
        const TimestampUs last =
            random() % 2 == 0 ? times(random)
                              : add_seconds(now, static_cast<std::int64_t>(random() % 2'000'000) - 1'900'000);
        const RunPlan plan = plan_run({last, base, std::nullopt, now, jitter, 60});
        ASSERT_TRUE(plan.slot && is_finite(*plan.slot));
        ASSERT_TRUE(plan.next_run_at && is_finite(*plan.next_run_at));
        ASSERT_EQ(plan.scheduled_at.has_value(), plan.verdict != Verdict::not_yet);
        ASSERT_NE(plan.verdict, Verdict::bootstrap);
        if (plan.verdict == Verdict::catch_up) {
            ASSERT_LE(*plan.slot, now);
            ASSERT_GT(add_seconds(*plan.slot, base), std::min(now, kTimestampMax - 1));
            const std::uint64_t distance = static_cast<std::uint64_t>(*plan.slot) -
                                           static_cast<std::uint64_t>(clamp_finite(std::min(last, now)));
            ASSERT_EQ(distance % (static_cast<std::uint64_t>(base) * kMicrosPerSecond), 0u);
        } else if (plan.verdict == Verdict::look_ahead) {
            ASSERT_GT(*plan.slot, now);
            ASSERT_LE(*plan.slot, add_seconds(now, 60));
        } else {
            ASSERT_GT(*plan.slot, add_seconds(now, 60));
        }
    }
}

}  // namespace
}  // namespace sync_engine

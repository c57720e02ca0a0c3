// What a tick does about a schedule: catching up, overlaps, pauses, looking ahead, and the ledger's
// arithmetic.
#include "core/fire_plan.hpp"

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "core_cron_support.hpp"

namespace sync_engine {
namespace {

constexpr std::int64_t kMinute = 60 * kMicrosPerSecond;
constexpr std::int64_t kHour = 60 * kMinute;

const char* name_of(FireOutcome outcome) {
    const char* names[] = {"fired",           "coalesced", "skipped_overlap", "skipped_paused",
                           "skipped_by_user", "missed",    "dst_gap"};
    return names[static_cast<int>(outcome)];
}

const char* name_of(FireReason reason) {
    const char* names[] = {"", " adopted", " late", " too_old", " over_limit", " clock_gap", " waited"};
    return names[static_cast<int>(reason)];
}

std::string clock_of(TimestampUs t) {
    return format_utc(t).substr(0, 16);
}

// "fired 2026-03-01T12:00", "missed late 2026-03-01T09:00..2026-03-01T11:00 x3", one after the other.
std::string told(const FirePlan& plan) {
    std::string text;
    for (const FireSpan& span : plan.spans) {
        text += (text.empty() ? "" : "; ") + std::string(name_of(span.outcome)) + name_of(span.reason) + " " +
                clock_of(span.first);
        if (span.count > 1) {
            text += ".." + clock_of(span.last) + " x" + std::to_string(span.count);
        }
    }
    return text;
}

FireState covered(std::string_view until, std::vector<TimestampUs> skips = {}) {
    return {utc(until), std::nullopt, std::move(skips), false};
}

FireMoment at(std::string_view as_of) {
    return {utc(as_of), 60, true, false, false, std::nullopt, std::nullopt};
}

FireMoment live_at(std::string_view as_of) {
    FireMoment moment = at(as_of);
    moment.live = true;
    return moment;
}

FireMoment paused_at(std::string_view as_of) {
    FireMoment moment = at(as_of);
    moment.paused = true;
    return moment;
}

FirePolicy policy_of(CatchUp catch_up, Overlap overlap = Overlap::skip) {
    FirePolicy policy;
    policy.catch_up = catch_up;
    policy.catchup_limit = 10;
    policy.catchup_max_age_seconds = 7 * 86'400;
    policy.overlap = overlap;
    return policy;
}

FirePlan plan(const char* expression, const FirePolicy& policy, const FireState& state,
              const FireMoment& moment) {
    static const ListedZone kUtc(0, {});
    return plan_fires(cron(expression), kUtc, policy, state, moment);
}

const FirePolicy kLatest = policy_of(CatchUp::latest);

TEST(FirePlan, NothingIsPlannedYet) {
    const FirePlan idle =
        plan("0 13 * * *", kLatest, covered("2026-03-01T11:00:00Z"), at("2026-03-01T12:00:00Z"));
    EXPECT_EQ(told(idle), "");
    EXPECT_EQ(idle.covered_until, utc("2026-03-01T12:00:00Z"));
    EXPECT_EQ(idle.next, utc("2026-03-01T13:00:00Z"));
    EXPECT_EQ(idle.look_at, utc("2026-03-01T12:59:00Z"));
}

TEST(FirePlan, LooksAheadAsFarAsATickLasts) {
    const FireState state = covered("2026-03-01T11:00:00Z");
    EXPECT_EQ(told(plan("0 13 * * *", kLatest, state, at("2026-03-01T12:58:59Z"))), "");
    const FirePlan ahead = plan("0 13 * * *", kLatest, state, at("2026-03-01T12:59:00Z"));
    EXPECT_EQ(told(ahead), "fired 2026-03-01T13:00");
    EXPECT_EQ(ahead.covered_until, utc("2026-03-01T13:00:00Z"));
    EXPECT_EQ(ahead.spans[0].scheduled_at, utc("2026-03-01T13:00:00Z"));
    EXPECT_FALSE(ahead.spans[0].catch_up);
    FireMoment slow = at("2026-03-01T12:50:00Z");
    slow.tick_interval_seconds = 600;
    EXPECT_EQ(told(plan("0 13 * * *", kLatest, state, slow)), "fired 2026-03-01T13:00");
    FireMoment blind = at("2026-03-01T12:59:30Z");
    blind.looks_ahead = false;
    EXPECT_EQ(told(plan("0 13 * * *", kLatest, state, blind)), "");
    // With a live job it is looked at when its time has come: the job may have ended by then.
    const FirePlan later = plan("0 13 * * *", kLatest, state, live_at("2026-03-01T12:59:00Z"));
    EXPECT_EQ(told(later), "");
    EXPECT_EQ(later.look_at, utc("2026-03-01T13:00:00Z"));
    // Of several ahead the first one runs.
    EXPECT_EQ(told(plan("*/10 * * * * *", kLatest, state, at("2026-03-01T11:00:00Z"))),
              "fired 2026-03-01T11:00");
}

TEST(FirePlan, LatestRunsOnceForAnOutage) {
    const FirePlan late =
        plan("0 * * * *", kLatest, covered("2026-03-01T06:30:00Z"), at("2026-03-01T12:20:00Z"));
    EXPECT_EQ(told(late), "coalesced 2026-03-01T07:00..2026-03-01T11:00 x5; fired 2026-03-01T12:00");
    EXPECT_TRUE(late.spans[1].catch_up);
    EXPECT_EQ(told(plan("0 * * * *", kLatest, covered("2026-03-01T11:30:00Z"), at("2026-03-01T12:00:00Z"))),
              "fired 2026-03-01T12:00");
}

TEST(FirePlan, SkipRunsWhatIsNoOlderThanATick) {
    const FirePolicy skip = policy_of(CatchUp::skip);
    const FireState state = covered("2026-03-01T06:30:00Z");
    EXPECT_EQ(told(plan("0 * * * *", skip, state, at("2026-03-01T12:20:00Z"))),
              "missed late 2026-03-01T07:00..2026-03-01T12:00 x6");
    EXPECT_EQ(told(plan("0 * * * *", skip, state, at("2026-03-01T12:00:59Z"))),
              "missed late 2026-03-01T07:00..2026-03-01T11:00 x5; fired 2026-03-01T12:00");
    EXPECT_EQ(told(plan("0 * * * *", skip, state, at("2026-03-01T12:01:00Z"))),
              "missed late 2026-03-01T07:00..2026-03-01T12:00 x6");
    // One that lies ahead is not late.
    EXPECT_EQ(told(plan("0 * * * *", skip, state, at("2026-03-01T12:59:00Z"))),
              "missed late 2026-03-01T07:00..2026-03-01T12:00 x6; fired 2026-03-01T13:00");
}

TEST(FirePlan, AllRunsOneAfterTheOther) {
    FirePolicy all = policy_of(CatchUp::all);
    all.catchup_limit = 3;
    const FirePlan first =
        plan("0 * * * *", all, covered("2026-03-01T06:30:00Z"), at("2026-03-01T12:20:00Z"));
    EXPECT_EQ(told(first), "missed over_limit 2026-03-01T07:00..2026-03-01T09:00 x3; fired 2026-03-01T10:00");
    EXPECT_TRUE(first.waits);
    EXPECT_EQ(first.covered_until, utc("2026-03-01T10:00:00Z"));
    const FirePlan wait =
        plan("0 * * * *", all, covered("2026-03-01T10:00:00Z"), live_at("2026-03-01T12:21:00Z"));
    EXPECT_EQ(told(wait), "");
    EXPECT_TRUE(wait.waits);
    const FirePlan second =
        plan("0 * * * *", all, covered("2026-03-01T10:00:00Z"), at("2026-03-01T12:22:00Z"));
    EXPECT_EQ(told(second), "fired 2026-03-01T11:00");
    const FirePlan third =
        plan("0 * * * *", all, covered("2026-03-01T11:00:00Z"), at("2026-03-01T12:23:00Z"));
    EXPECT_EQ(told(third), "fired 2026-03-01T12:00");
    EXPECT_FALSE(third.waits);
    all.catchup_max_age_seconds = 2 * 3600;
    EXPECT_EQ(told(plan("0 * * * *", all, covered("2026-03-01T06:30:00Z"), at("2026-03-01T12:00:00Z"))),
              "missed too_old 2026-03-01T07:00..2026-03-01T09:00 x3; fired 2026-03-01T10:00");
}

TEST(FirePlan, OverlapsAreSkippedOrBuffered) {
    const FireState state = covered("2026-03-01T09:30:00Z");
    const FirePlan skipped = plan("0 * * * *", kLatest, state, live_at("2026-03-01T12:20:00Z"));
    EXPECT_EQ(told(skipped), "skipped_overlap 2026-03-01T10:00..2026-03-01T12:00 x3");
    const FirePolicy buffer = policy_of(CatchUp::latest, Overlap::buffer_one);
    const FirePlan waits = plan("0 * * * *", buffer, state, live_at("2026-03-01T12:20:00Z"));
    EXPECT_EQ(told(waits), "");
    EXPECT_TRUE(waits.waits);
    EXPECT_EQ(waits.covered_until, state.covered_until);
    ASSERT_TRUE(waits.look_at);
    EXPECT_GT(*waits.look_at, utc("2026-03-01T12:20:00Z"));
    EXPECT_LE(*waits.look_at, utc("2026-03-01T12:21:00Z"));
    // One run for all that came meanwhile, which is no outage: whatever is caught up with.
    FireState waited = state;
    waited.waited = true;
    for (const CatchUp catch_up : {CatchUp::latest, CatchUp::skip}) {
        const FirePlan ended =
            plan("0 * * * *", policy_of(catch_up, Overlap::buffer_one), waited, at("2026-03-01T12:25:00Z"));
        EXPECT_EQ(told(ended),
                  "coalesced waited 2026-03-01T10:00..2026-03-01T11:00 x2; fired 2026-03-01T12:00");
        EXPECT_FALSE(ended.spans[1].catch_up);
    }
    EXPECT_EQ(told(plan("0 * * * *", buffer, state, at("2026-03-01T12:25:00Z"))),
              "coalesced 2026-03-01T10:00..2026-03-01T11:00 x2; fired 2026-03-01T12:00");
}

TEST(FirePlan, PausesAreSkipped) {
    const FireState state = covered("2026-03-01T09:30:00Z");
    const FirePlan paused = plan("0 * * * *", kLatest, state, paused_at("2026-03-01T12:20:00Z"));
    EXPECT_EQ(told(paused), "skipped_paused 2026-03-01T10:00..2026-03-01T12:00 x3");
    EXPECT_EQ(told(plan("0 * * * *", kLatest, state, paused_at("2026-03-01T09:59:30Z"))), "");
    // Resumed by itself: what is planned for that very instant runs.
    FireMoment resumed = at("2026-03-01T12:00:00Z");
    resumed.paused_until = utc("2026-03-01T11:00:00Z");
    EXPECT_EQ(told(plan("0 * * * *", policy_of(CatchUp::all), state, resumed)),
              "skipped_paused 2026-03-01T10:00; fired 2026-03-01T11:00");
}

TEST(FirePlan, UsersSkipInstants) {
    const std::vector<TimestampUs> skips = {utc("2026-03-01T11:00:00Z"), utc("2026-03-01T13:00:00Z")};
    const FireState state = covered("2026-03-01T09:30:00Z", skips);
    EXPECT_EQ(told(plan("0 * * * *", kLatest, state, at("2026-03-01T12:00:00Z"))),
              "coalesced 2026-03-01T10:00; skipped_by_user 2026-03-01T11:00; fired 2026-03-01T12:00");
    EXPECT_EQ(told(plan("0 * * * *", kLatest, state, at("2026-03-01T11:00:00Z"))),
              "fired 2026-03-01T10:00; skipped_by_user 2026-03-01T11:00");
    EXPECT_EQ(
        told(plan("0 * * * *", kLatest, covered("2026-03-01T12:00:00Z", skips), at("2026-03-01T12:59:00Z"))),
        "skipped_by_user 2026-03-01T13:00");
    EXPECT_EQ(told(plan("0 * * * *", policy_of(CatchUp::all), state, at("2026-03-01T12:00:00Z"))),
              "fired 2026-03-01T10:00");
    EXPECT_EQ(told(plan("0 * * * *", kLatest, state, live_at("2026-03-01T12:00:00Z"))),
              "skipped_overlap 2026-03-01T10:00; skipped_by_user 2026-03-01T11:00; skipped_overlap "
              "2026-03-01T12:00");
    // An instant that is not planned any more is no matter.
    const FireState stale = covered("2026-03-01T09:30:00Z", {utc("2026-03-01T10:10:00Z")});
    EXPECT_EQ(told(plan("0 * * * *", kLatest, stale, at("2026-03-01T11:00:00Z"))),
              "coalesced 2026-03-01T10:00; fired 2026-03-01T11:00");
}

TEST(FirePlan, StartsAndEnds) {
    FirePolicy policy = kLatest;
    policy.starts_at = utc("2026-03-01T10:00:00Z");
    policy.ends_at = utc("2026-03-01T12:00:00Z");
    const FirePlan over =
        plan("0 * * * *", policy, covered("2026-03-01T06:30:00Z"), at("2026-03-01T15:20:00Z"));
    EXPECT_EQ(told(over), "coalesced 2026-03-01T10:00..2026-03-01T11:00 x2; fired 2026-03-01T12:00");
    EXPECT_FALSE(over.next);
    EXPECT_FALSE(over.look_at);
    const FirePlan early =
        plan("0 * * * *", policy, covered("2026-02-01T00:00:00Z"), at("2026-02-28T15:20:00Z"));
    EXPECT_EQ(told(early), "");
    EXPECT_EQ(early.next, utc("2026-03-01T10:00:00Z"));
    EXPECT_EQ(early.look_at, utc("2026-03-01T09:59:00Z"));
    EXPECT_EQ(told(plan("0 * * * *", policy, covered("2026-03-01T12:00:00Z"), at("2026-03-01T12:59:30Z"))),
              "");
}

TEST(FirePlan, WhatWasBeforeAnAdoptionIsMissed) {
    FireMoment moment = at("2026-03-01T12:20:00Z");
    moment.adopted_at = utc("2026-03-01T11:10:00Z");
    EXPECT_EQ(told(plan("0 * * * *", policy_of(CatchUp::all), covered("2026-02-27T06:30:00Z"), moment)),
              "missed adopted 2026-02-27T07:00..2026-03-01T11:00 x53; fired 2026-03-01T12:00");
    moment.adopted_at = utc("2026-03-01T12:10:00Z");
    EXPECT_EQ(told(plan("0 * * * *", kLatest, covered("2026-02-27T06:30:00Z"), moment)),
              "missed adopted 2026-02-27T07:00..2026-03-01T12:00 x54");
}

TEST(FirePlan, TheClockThatWentBackIsWaitedFor) {
    for (const CatchUp catch_up : {CatchUp::latest, CatchUp::skip, CatchUp::all}) {
        const FirePlan back = plan("0 * * * *", policy_of(catch_up), covered("2026-03-01T12:00:00Z"),
                                   at("2026-03-01T11:00:00Z"));
        EXPECT_EQ(told(back), "");
        EXPECT_EQ(back.covered_until, utc("2026-03-01T12:00:00Z"));
        EXPECT_EQ(back.next, utc("2026-03-01T13:00:00Z"));
    }
}

TEST(FirePlan, ClocksThatArePutForward) {
    const ListedZone zone = new_york();
    FirePolicy policy = kLatest;
    const FireState state = covered("2026-03-08T06:30:00Z");
    const FirePlan after = plan_fires(cron("30 2 * * *"), zone, policy, state, at("2026-03-08T07:00:00Z"));
    EXPECT_EQ(told(after), "fired clock_gap 2026-03-08T07:00");
    policy.dst.gap = DstGap::skip;
    const FirePlan skipped =
        plan_fires(cron("*/10 2 * * *"), zone, policy, state, at("2026-03-08T07:00:00Z"));
    EXPECT_EQ(told(skipped), "dst_gap 2026-03-08T07:00..2026-03-08T07:00 x6");
    EXPECT_EQ(skipped.next, utc("2026-03-09T06:00:00Z"));
}

TEST(FirePlan, ClocksThatArePutBack) {
    const ListedZone zone = new_york();
    const FireState state = covered("2026-11-01T04:00:00Z");
    const FireMoment late = at("2026-11-01T08:00:00Z");
    FirePolicy policy = kLatest;
    EXPECT_EQ(told(plan_fires(cron("30 1 * * *"), zone, policy, state, late)), "fired 2026-11-01T05:30");
    policy.dst.fold = DstFold::second;
    EXPECT_EQ(told(plan_fires(cron("30 1 * * *"), zone, policy, state, late)), "fired 2026-11-01T06:30");
    policy.dst.fold = DstFold::both;
    EXPECT_EQ(told(plan_fires(cron("30 1 * * *"), zone, policy, state, late)),
              "coalesced 2026-11-01T05:30; fired 2026-11-01T06:30");
}

TEST(FirePlan, RulesOfAZoneThatChange) {
    // Covered while the zone was at UTC; now it has been an hour or two ahead or behind all along.
    for (int hours = -2; hours <= 2; ++hours) {
        const ListedZone zone(hours * 3600, {});
        FireState state = covered("2026-03-01T02:00:00Z");
        state.covered_offset = 0;
        const FirePlan next =
            plan_fires(cron("0 2 * * *"), zone, policy_of(CatchUp::all), state, at("2026-03-01T06:00:00Z"));
        EXPECT_EQ(told(next), "") << hours;  // at two by the wall clock it has run that day
        EXPECT_EQ(next.next, utc("2026-03-02T02:00:00Z") - hours * kHour) << hours;
        EXPECT_EQ(next.covered_offset, hours * 3600);
    }
    // A shift of a day makes one run and not one for each instant.
    const ListedZone samoa(14 * 3600, {});
    FireState state = covered("2026-03-01T02:00:00Z");
    state.covered_offset = -10 * 3600;
    const FirePlan moved = plan_fires(cron("0 * * * *"), samoa, kLatest, state, at("2026-03-01T02:05:00Z"));
    EXPECT_EQ(told(moved), "");
    const FirePlan daily =
        plan_fires(cron("0 0-23 * * *"), samoa, kLatest, state, at("2026-03-01T02:05:00Z"));
    EXPECT_EQ(std::count_if(daily.spans.begin(), daily.spans.end(),
                            [](const FireSpan& s) { return s.outcome == FireOutcome::fired; }),
              1);
}

TEST(FirePlan, AYearOfSecondsIsQuickAndExact) {
    FirePolicy policy = policy_of(CatchUp::all);
    policy.catchup_limit = 1000;
    const ListedZone zone = new_york();
    const FirePlan late = plan_fires(cron("* * * * * *"), zone, policy, covered("2025-06-01T00:00:00Z"),
                                     at("2026-06-01T00:00:00Z"));
    ASSERT_EQ(late.spans.size(), 3U);
    EXPECT_EQ(late.spans[0].count, 358 * 86'400 - 1);
    EXPECT_EQ(late.spans[0].reason, FireReason::too_old);
    EXPECT_EQ(late.spans[1].count, 7 * 86'400 + 1 - 1000);
    EXPECT_EQ(late.spans[2].count, 1);
}

TEST(FireJitter, IsTheSameForAnInstantAndEarlierThanTheNext) {
    std::set<std::int64_t> drawn;
    for (int n = 0; n < 2000; ++n) {
        const std::int64_t jitter = fire_jitter(7, n * kHour, 9, 3600);
        EXPECT_EQ(jitter, fire_jitter(7, n * kHour, 9, 3600));
        drawn.insert(jitter);
        const std::int64_t short_one = fire_jitter(7, n * kHour, 300, 60);
        EXPECT_GE(short_one, 0);
        EXPECT_LE(short_one, 59);
        EXPECT_EQ(fire_jitter(7, n * kHour, 300, 1), 0);
        EXPECT_EQ(fire_jitter(7, n * kHour, 0, 3600), 0);
    }
    EXPECT_EQ(drawn, (std::set<std::int64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
    // Schedules of the same time do not begin together.
    drawn.clear();
    for (int seed = 0; seed < 2000; ++seed) {
        drawn.insert(fire_jitter(seed, kHour, 99, 3600));
    }
    EXPECT_EQ(drawn.size(), 100U);
    EXPECT_EQ(fire_jitter(1, kHour, 86'400, INT64_MAX), fire_jitter(1, kHour, 86'400, INT64_MAX));
}

// The rules told instant by instant, without spans, counts or the search for times.
struct Model {
    const FirePolicy& policy;
    const FireState& state;
    const FireMoment& moment;
    std::vector<TimestampUs> planned;  // all later than what was covered

    std::map<TimestampUs, FireOutcome> outcomes;
    TimestampUs covered_until = 0;
    bool waits = false;

    [[nodiscard]] bool skipped(TimestampUs t) const {
        return std::find(state.skips.begin(), state.skips.end(), t) != state.skips.end();
    }
    void give(TimestampUs t, FireOutcome outcome) {
        outcomes[t] = skipped(t) ? FireOutcome::skipped_by_user : outcome;
    }
    void run() {
        const TimestampUs now = moment.as_of;
        const std::int64_t ahead = std::max(moment.tick_interval_seconds, 60) * kMicrosPerSecond;
        covered_until = std::max(state.covered_until, now);
        std::vector<TimestampUs> open;
        for (const TimestampUs t : planned) {
            if (t > now) {
                continue;
            }
            if (moment.adopted_at && t <= *moment.adopted_at) {
                give(t, FireOutcome::missed);
            } else if (moment.paused || (moment.paused_until && t < *moment.paused_until)) {
                give(t, FireOutcome::skipped_paused);
            } else if (moment.live && policy.overlap == Overlap::skip && policy.catch_up != CatchUp::all) {
                give(t, FireOutcome::skipped_overlap);
            } else if (!moment.live && policy.catch_up == CatchUp::skip && !state.waited &&
                       t <= now - ahead) {
                give(t, FireOutcome::missed);
            } else if (!moment.live && policy.catch_up == CatchUp::all &&
                       t < now - policy.catchup_max_age_seconds * kMicrosPerSecond) {
                give(t, FireOutcome::missed);
            } else {
                open.push_back(t);
            }
        }
        std::vector<TimestampUs> wanted;
        std::copy_if(open.begin(), open.end(), std::back_inserter(wanted),
                     [this](TimestampUs t) { return !skipped(t); });
        if (wanted.empty()) {
            for (const TimestampUs t : open) {
                give(t, FireOutcome::skipped_by_user);
            }
        } else if (moment.live) {
            wait_from(open.front());
            return;
        } else {
            const bool all = policy.catch_up == CatchUp::all;
            const std::size_t limit = static_cast<std::size_t>(policy.catchup_limit);
            const TimestampUs chosen = !all                     ? wanted.back()
                                       : wanted.size() <= limit ? wanted.front()
                                                                : wanted[wanted.size() - limit];
            for (const TimestampUs t : open) {
                if (t < chosen) {
                    give(t, all ? FireOutcome::missed : FireOutcome::coalesced);
                } else if (t > chosen && !(all && chosen < wanted.back())) {
                    give(t, FireOutcome::skipped_by_user);
                }
            }
            outcomes[chosen] = FireOutcome::fired;
            if (all && chosen < wanted.back()) {
                waits = true;
                covered_until = chosen;
            }
            return;
        }
        if (!moment.looks_ahead || moment.live || moment.paused) {
            return;
        }
        for (const TimestampUs t : planned) {
            if (t > covered_until && t <= now + ahead) {
                covered_until = t;
                outcomes[t] = skipped(t) ? FireOutcome::skipped_by_user : FireOutcome::fired;
                if (!skipped(t)) {
                    return;
                }
            }
        }
    }
    // What came before may have been seen to.
    void wait_from(TimestampUs first) {
        waits = true;
        covered_until = state.covered_until;
        for (const auto& [t, outcome] : outcomes) {
            if (t < first) {
                covered_until = t;
            }
        }
    }
};

class FirePlanModel : public testing::Test {
  protected:
    int pick(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }
    bool one_in(int n) { return pick(1, n) == 1; }

    FirePolicy random_fire_policy() {
        FirePolicy policy;
        policy.dst = random_policy(random_);
        policy.catch_up = static_cast<CatchUp>(pick(0, 2));
        policy.overlap = static_cast<Overlap>(pick(0, 1));
        policy.catchup_limit = pick(1, 5);
        policy.catchup_max_age_seconds = pick(1, 2 * 86'400);
        policy.jitter_seconds = one_in(2) ? 0 : pick(1, 7200);
        policy.jitter_seed = pick(0, 1000);
        if (one_in(4)) {
            policy.starts_at = (start_ + pick(0, 5 * 86'400)) * kMicrosPerSecond;
        }
        if (one_in(4)) {
            policy.ends_at = (start_ + pick(5 * 86'400, 12 * 86'400)) * kMicrosPerSecond;
        }
        return policy;
    }

    void expect_as_model(const FirePlan& plan, const CronExpression& expression, const TimeZone& zone,
                         const FirePolicy& policy, const FireState& state, const FireMoment& moment);

    std::mt19937_64 random_{5};
    InstantSeconds start_ = utc_seconds("2026-06-01T00:00:00Z");
};

void FirePlanModel::expect_as_model(const FirePlan& plan, const CronExpression& expression,
                                    const TimeZone& zone, const FirePolicy& policy, const FireState& state,
                                    const FireMoment& moment) {
    const TimestampUs horizon = std::max(state.covered_until, moment.as_of) + 4 * kHour;
    std::vector<TimestampUs> planned =
        listed_runs(expression, zone, state.covered_until, horizon, policy.dst);
    std::erase_if(planned, [&policy](TimestampUs t) {
        return (policy.starts_at && t < *policy.starts_at) || (policy.ends_at && t > *policy.ends_at);
    });
    Model model{policy, state, moment, planned, {}, 0, false};
    model.run();
    ASSERT_EQ(plan.waits, model.waits);
    if (plan.waits) {
        // How much of what nobody plans is covered does not matter.
        ASSERT_GE(plan.covered_until, model.covered_until);
        ASSERT_TRUE(plan.look_at && *plan.look_at > moment.as_of && *plan.look_at <= moment.as_of + kMinute);
    } else {
        ASSERT_EQ(plan.covered_until, model.covered_until);
    }
    ASSERT_GE(plan.covered_until, state.covered_until);
    std::map<TimestampUs, FireOutcome> outcomes;
    std::optional<TimestampUs> before;
    int fired = 0;
    for (const FireSpan& span : plan.spans) {
        if (span.outcome == FireOutcome::dst_gap) {
            ASSERT_EQ(policy.dst.gap, DstGap::skip);
            ASSERT_EQ(span.first, span.last);
            continue;
        }
        ASSERT_TRUE(!before || span.first > *before);
        before = span.last;
        std::int64_t count = 0;
        for (const TimestampUs t : planned) {
            if (t >= span.first && t <= span.last) {
                ++count;
                outcomes[t] = span.outcome;
            }
        }
        ASSERT_EQ(count, span.count);
        ASSERT_TRUE(outcomes.contains(span.first) && outcomes.contains(span.last));
        if (span.outcome == FireOutcome::fired) {
            ++fired;
            ASSERT_EQ(span.count, 1);
            ASSERT_GE(span.scheduled_at, span.first);
            ASSERT_LE(span.scheduled_at, span.first + policy.jitter_seconds * kMicrosPerSecond);
            const auto following = std::upper_bound(planned.begin(), planned.end(), span.first);
            ASSERT_TRUE(following == planned.end() || span.scheduled_at < *following);
        }
    }
    ASSERT_LE(fired, 1);
    ASSERT_EQ(outcomes, model.outcomes);
    const auto next = std::upper_bound(planned.begin(), planned.end(), plan.covered_until);
    if (next != planned.end()) {
        ASSERT_EQ(plan.next, *next);
        ASSERT_TRUE(plan.look_at && *plan.look_at <= std::max(*next, moment.as_of + kMinute));
    }
}

const char* const kExpressions[] = {"*/15 * * * *", "0 0-23 * * *", "30 1,2 * * *",    "*/20 1-3 * * *",
                                    "0 2 * * *",    "0 12 * * 1-5", "10,40 * * * * *", "0 */6 * * *"};

TEST_F(FirePlanModel, HoldsWhateverHappens) {
    for (int i = 0; i < 600; ++i) {
        const ListedZone zone = random_zone(random_, start_, 3);
        const char* text = kExpressions[pick(0, 7)];
        const CronExpression expression = cron(text);
        const FirePolicy policy = random_fire_policy();
        FireState state = {
            start_ * kMicrosPerSecond + pick(0, 1) * pick(0, 999'999), std::nullopt, {}, false};
        TimestampUs now = state.covered_until;
        for (int n = 0; n < 25; ++n) {
            // Ticks as they come, after an outage, and by a clock that goes back a little.
            now += one_in(5)    ? pick(0, 2 * 86'400) * kMicrosPerSecond
                   : one_in(10) ? -pick(0, 7200) * kMicrosPerSecond
                                : pick(0, 3600) * kMicrosPerSecond + pick(0, 1) * pick(0, 999'999);
            FireMoment moment = {now, one_in(3) ? pick(1, 600) : 60, !one_in(4), one_in(3), one_in(5), {},
                                 {}};
            if (one_in(6)) {
                const TimestampUs past = now - pick(0, 86'400) * kMicrosPerSecond;
                (one_in(2) ? moment.adopted_at : moment.paused_until) = past;
                moment.paused = moment.paused && !moment.paused_until;
            }
            if (one_in(3)) {
                const auto upcoming =
                    cron_next(expression, zone, state.covered_until + pick(0, 40) * kHour, policy.dst);
                if (upcoming) {
                    state.skips.push_back(*upcoming);
                    std::sort(state.skips.begin(), state.skips.end());
                }
            }
            const FirePlan plan = plan_fires(expression, zone, policy, state, moment);
            expect_as_model(plan, expression, zone, policy, state, moment);
            if (HasFatalFailure()) {
                FAIL() << text << ", round " << i << ", tick " << n << " at " << format_utc(now)
                       << ", covered " << format_utc(state.covered_until) << ", live " << moment.live
                       << ", paused " << moment.paused << ", catch up " << static_cast<int>(policy.catch_up)
                       << ": " << told(plan);
            }
            state.covered_until = plan.covered_until;
            state.covered_offset = plan.covered_offset;
            state.waited = plan.waits;
            std::erase_if(state.skips, [&plan](TimestampUs t) { return t <= plan.covered_until; });
        }
    }
}

// How each instant fares, whatever the ticks that it takes.
std::map<TimestampUs, FireOutcome> played(const CronExpression& expression, const TimeZone& zone,
                                          const FirePolicy& policy, FireState state, FireMoment moment,
                                          const std::vector<TimestampUs>& ticks) {
    std::map<TimestampUs, FireOutcome> outcomes;
    for (const TimestampUs now : ticks) {
        moment.as_of = now;
        const FirePlan plan = plan_fires(expression, zone, policy, state, moment);
        for (const FireSpan& span : plan.spans) {
            if (span.outcome == FireOutcome::dst_gap) {
                outcomes.emplace(span.first, span.outcome);
                continue;
            }
            for (const TimestampUs t : listed_runs(expression, zone, span.first - 1, span.last, policy.dst)) {
                outcomes[t] = span.outcome;
            }
        }
        state.covered_until = plan.covered_until;
        state.covered_offset = plan.covered_offset;
    }
    return outcomes;
}

TEST_F(FirePlanModel, TheSplitIntoTicksDoesNotMatter) {
    for (int i = 0; i < 100; ++i) {
        const ListedZone zone = random_zone(random_, start_, 3);
        const CronExpression expression = cron(kExpressions[pick(0, 7)]);
        FirePolicy policy = random_fire_policy();
        const TimestampUs begin = start_ * kMicrosPerSecond;
        const TimestampUs end = begin + 10 * 24 * kHour;
        FireState state = {begin, std::nullopt, {}, false};
        for (int n = 0; n < 3; ++n) {
            if (const auto skip = cron_next(expression, zone, begin + n * 30 * kHour, policy.dst)) {
                state.skips.push_back(*skip);
            }
        }
        std::vector<TimestampUs> ticks = {end};
        for (int n = 0; n < 30; ++n) {
            ticks.push_back(begin + pick(0, 10 * 86'400) * kMicrosPerSecond);
        }
        std::sort(ticks.begin(), ticks.end());
        FireMoment moment = {0, 60, false, false, true, {}, {}};
        EXPECT_EQ(played(expression, zone, policy, state, moment, ticks),
                  played(expression, zone, policy, state, moment, {end}))
            << "paused, " << i;
        moment.paused = false;
        moment.live = true;
        policy.overlap = Overlap::skip;
        policy.catch_up = one_in(2) ? CatchUp::latest : CatchUp::skip;
        EXPECT_EQ(played(expression, zone, policy, state, moment, ticks),
                  played(expression, zone, policy, state, moment, {end}))
            << "overlapping, " << i;
    }
}

TEST_F(FirePlanModel, TicksThatAreNotLateRunEachInstant) {
    for (int i = 0; i < 60; ++i) {
        const ListedZone zone = random_zone(random_, start_, 2);
        const CronExpression expression = cron(kExpressions[pick(0, 5)]);
        FirePolicy policy = random_fire_policy();
        policy.catchup_max_age_seconds = 3600;
        policy.starts_at.reset();
        policy.ends_at.reset();
        const TimestampUs begin = start_ * kMicrosPerSecond;
        std::vector<TimestampUs> ticks;
        for (TimestampUs now = begin; now < begin + 4 * 24 * kHour; now += pick(1, 60) * kMicrosPerSecond) {
            ticks.push_back(now);
        }
        std::set<TimestampUs> fired;
        for (const auto& [t, outcome] : played(expression, zone, policy, {begin, std::nullopt, {}, false},
                                               {0, 60, true, false, false, {}, {}}, ticks)) {
            ASSERT_TRUE(outcome == FireOutcome::fired || outcome == FireOutcome::dst_gap) << i;
            if (outcome == FireOutcome::fired) {
                fired.insert(t);
            }
        }
        for (const TimestampUs t : listed_runs(expression, zone, begin, ticks.back(), policy.dst)) {
            ASSERT_TRUE(fired.contains(t)) << i << " " << format_utc(t);
        }
    }
}

}  // namespace
}  // namespace sync_engine

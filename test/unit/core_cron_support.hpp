// Zones and shorthands for the tests of cron expressions.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "core/cron.hpp"

namespace sync_engine {

inline CronExpression cron(std::string_view text) {
    const auto parsed = parse_cron(text);
    if (const auto* fault = std::get_if<CronFault>(&parsed)) {
        ADD_FAILURE() << text << ": " << fault->message;
        return {};
    }
    return std::get<CronExpression>(parsed);
}

// How many random cases: as many as are quick, or, with FULL=1 (make test-full), as many as there should be.
inline int random_cases(int quick, int full) {
    const char* wanted = std::getenv("FULL");
    return wanted != nullptr && std::string_view(wanted) == "1" ? full : quick;
}

// Offsets from given instants on; the first holds for ever before.
class ListedZone : public TimeZone {
  public:
    struct Change {
        InstantSeconds from;
        std::int32_t offset;
    };

    ListedZone(std::int32_t first, std::vector<Change> changes) : changes_(std::move(changes)) {
        changes_.insert(changes_.begin(), {kInstantMin, first});
    }

    [[nodiscard]] ZoneSpan span_at(InstantSeconds instant) const override {
        std::size_t i = changes_.size() - 1;
        while (changes_[i].from > instant) {
            --i;
        }
        // As a zone does that can only look ahead.
        const InstantSeconds seen = std::max(changes_[i].from, instant - kZoneReach - 1);
        return {seen, i + 1 < changes_.size() ? changes_[i + 1].from : kInstantMax, changes_[i].offset};
    }

    [[nodiscard]] const std::vector<Change>& changes() const { return changes_; }

  private:
    std::vector<Change> changes_;
};

inline TimestampUs utc(std::string_view text) {
    const auto time = parse_utc(text);
    EXPECT_TRUE(time.has_value()) << text;
    return time.value_or(0);
}

inline InstantSeconds utc_seconds(std::string_view text) {
    return utc(text) / kMicrosPerSecond;
}

// New York in 2026: 02:00 becomes 03:00 on March 8, 02:00 becomes 01:00 on November 1.
inline ListedZone new_york() {
    return {
        -5 * 3600,
        {{utc_seconds("2026-03-08T07:00:00Z"), -4 * 3600}, {utc_seconds("2026-11-01T06:00:00Z"), -5 * 3600}}};
}

// Every instant in (after, until], one after the other.
inline std::vector<TimestampUs> listed_runs(const CronExpression& expression, const TimeZone& zone,
                                            TimestampUs after, TimestampUs until, CronPolicy policy) {
    std::vector<TimestampUs> found;
    for (auto t = cron_next(expression, zone, after, policy); t && *t <= until;
         t = cron_next(expression, zone, *t, policy)) {
        found.push_back(*t);
    }
    return found;
}

// A zone that changes its clocks now and then, by halves of an hour or by a whole day.
inline ListedZone random_zone(std::mt19937_64& random, InstantSeconds start, int changes) {
    const auto pick = [&random](int low, int high) {
        return std::uniform_int_distribution<int>(low, high)(random);
    };
    const int first = pick(-24, 24) * 1800;
    std::vector<ListedZone::Change> list;
    int offset = first;
    InstantSeconds at = start;
    for (int n = 0; n < changes; ++n) {
        // Some follow each other closely, as zones have had it.
        at += pick(0, 3) == 0 ? pick(1, 48) * 1800 : pick(3 * 1440, 20 * 1440) * 60;
        if (pick(0, 9) == 0) {
            offset += offset > 0 ? -86'400 : 86'400;
        } else {
            offset = std::clamp(offset + pick(-4, 4) * 1800, -14 * 3600, 14 * 3600);
        }
        offset = std::clamp(offset, -86'000, 86'000);
        list.push_back({at, offset});
    }
    return {first, list};
}

inline CronPolicy random_policy(std::mt19937_64& random) {
    const DstGap gaps[] = {DstGap::run_after, DstGap::skip};
    const DstFold folds[] = {DstFold::first, DstFold::second, DstFold::both};
    return {gaps[random() % 2], folds[random() % 3]};
}

}  // namespace sync_engine

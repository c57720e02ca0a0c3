// Zones and shorthands for the tests of cron expressions.
#pragma once

#include <algorithm>
#include <cstdlib>
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

}  // namespace sync_engine

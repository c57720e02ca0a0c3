#pragma once

// How many requests a token has left of its minute. The database counts for all gateways together; each takes
// some of a token's requests in advance, so that not every request has to write.

#include <cstdint>
#include <list>
#include <optional>
#include <string>
#include <unordered_map>

namespace sync_engine {

// What begin_request told of a token's minute. Times are seconds since 1970, by the database's clock.
struct BudgetGrant {
    std::optional<std::int64_t> limit;  // requests a minute; none: any number
    std::int64_t granted = 0;
    std::int64_t remaining = 0;  // in the database, after this grant
    std::int64_t resets_at = 0;  // no more than a minute from when it was granted
};

struct BudgetState {
    bool allowed = false;
    std::optional<std::int64_t> limit;
    std::int64_t remaining = 0;
    std::int64_t reset_seconds = 0;
};

// Of the tokens used last, 10,000 at most. `now` is seconds since 1970 by the gateway's clock, which may be
// any time ahead of the database's or behind it: by how much is learnt from what is granted.
class RequestBudgets {
  public:
    // How many requests to ask the database for before the next one of this token; 0: there are some at hand.
    std::int64_t wanted(const std::string& token, std::int64_t now);
    void granted(const std::string& token, const BudgetGrant& grant);
    // Uses one up, if there is one; of what has just been granted whatever the clocks say, for the request
    // that asked was within the minute when it was counted.
    BudgetState use(const std::string& token, std::int64_t now);
    void forget(const std::string& token);

  private:
    struct Entry {
        std::optional<std::int64_t> limit;
        std::int64_t at_hand = 0;
        std::int64_t fresh = 0;  // grants whose own request has not used its part yet
        std::int64_t remaining = 0;
        std::int64_t resets_at = 0;
        std::list<std::string>::iterator place;
    };
    Entry& entry(const std::string& token);
    std::int64_t seconds_left(const Entry& of, std::int64_t now) const;
    void learn_difference(std::int64_t resets_at, std::int64_t now);

    std::unordered_map<std::string, Entry> entries_;
    std::list<std::string> recent_;  // the token used last comes first
    // By how much the database's clock is ahead of ours, in seconds, as far as grants have shown.
    std::int64_t ahead_least_ = 0;
    std::int64_t ahead_most_ = -1;  // below the least: nothing is known
    std::int64_t ahead_ = 0;
};

}  // namespace sync_engine

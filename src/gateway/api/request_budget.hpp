#pragma once

// How many requests a token has left of its minute. The database counts for all gateways together; each takes
// some of a token's requests in advance, so that not every request has to write.

#include <cstdint>
#include <list>
#include <optional>
#include <string>
#include <unordered_map>

namespace sync_engine {

// What begin_request told of a token's minute. Times are seconds since 1970.
struct BudgetGrant {
    std::optional<std::int64_t> limit;  // requests a minute; none: any number
    std::int64_t granted = 0;
    std::int64_t remaining = 0;  // in the database, after this grant
    std::int64_t resets_at = 0;
};

struct BudgetState {
    bool allowed = false;
    std::optional<std::int64_t> limit;
    std::int64_t remaining = 0;
    std::int64_t reset_seconds = 0;
};

// Of the tokens used last, 10,000 at most.
class RequestBudgets {
  public:
    // How many requests to ask the database for before the next one of this token; 0: there are some at hand.
    std::int64_t wanted(const std::string& token, std::int64_t now);
    void granted(const std::string& token, const BudgetGrant& grant);
    // Uses one up, if there is one.
    BudgetState use(const std::string& token, std::int64_t now);
    void forget(const std::string& token);

  private:
    struct Entry {
        std::optional<std::int64_t> limit;
        std::int64_t at_hand = 0;
        std::int64_t remaining = 0;
        std::int64_t resets_at = 0;
        std::list<std::string>::iterator place;
    };
    Entry& entry(const std::string& token);

    std::unordered_map<std::string, Entry> entries_;
    std::list<std::string> recent_;  // the token used last comes first
};

}  // namespace sync_engine

#include "gateway/api/request_budget.hpp"

#include <algorithm>

namespace sync_engine {

namespace {

constexpr std::size_t kMaxTokens = 10000;
constexpr std::int64_t kWindowSeconds = 60;
// A second's share at most is taken ahead: what a gateway does not use is lost to others until the minute
// ends.
constexpr std::int64_t kMostAhead = 100;

}  // namespace

RequestBudgets::Entry& RequestBudgets::entry(const std::string& token) {
    const auto found = entries_.find(token);
    if (found != entries_.end()) {
        recent_.splice(recent_.begin(), recent_, found->second.place);
        return found->second;
    }
    if (entries_.size() >= kMaxTokens) {
        entries_.erase(recent_.back());
        recent_.pop_back();
    }
    recent_.push_front(token);
    Entry& made = entries_[token];
    made.place = recent_.begin();
    return made;
}

std::int64_t RequestBudgets::wanted(const std::string& token, std::int64_t now) {
    Entry& known = entry(token);
    if (known.at_hand > 0 && now < known.resets_at) {
        return 0;
    }
    known.at_hand = 0;
    return known.limit ? std::clamp<std::int64_t>(*known.limit / kWindowSeconds, 1, kMostAhead) : 1;
}

void RequestBudgets::granted(const std::string& token, const BudgetGrant& grant) {
    Entry& known = entry(token);
    known.limit = grant.limit;
    known.remaining = grant.remaining;
    known.resets_at = grant.resets_at;
    // Two that asked at once both got some.
    known.at_hand += grant.granted;
}

BudgetState RequestBudgets::use(const std::string& token, std::int64_t now) {
    Entry& known = entry(token);
    BudgetState state;
    state.limit = known.limit;
    state.allowed = !known.limit || (known.at_hand > 0 && now < known.resets_at);
    if (state.allowed && known.limit) {
        --known.at_hand;
    }
    state.remaining = known.limit ? std::max<std::int64_t>(known.remaining + known.at_hand, 0) : 0;
    state.reset_seconds = std::max<std::int64_t>(known.resets_at - now, 0);
    return state;
}

void RequestBudgets::forget(const std::string& token) {
    const auto found = entries_.find(token);
    if (found != entries_.end()) {
        recent_.erase(found->second.place);
        entries_.erase(found);
    }
}

}  // namespace sync_engine

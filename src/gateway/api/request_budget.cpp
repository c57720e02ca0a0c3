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
    if (known.at_hand > 0 && (known.fresh > 0 || seconds_left(known, now) > 0)) {
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
    known.fresh += grant.granted > 0 ? 1 : 0;
}

// A token without limit has no minute in the database: its time is ours.
std::int64_t RequestBudgets::seconds_left(const Entry& of, std::int64_t now) const {
    const std::int64_t left = of.resets_at - now - (of.limit ? ahead_ : 0);
    return std::clamp<std::int64_t>(left, 0, kWindowSeconds);
}

// What has just been granted was so within the minute before `resets_at`, which tells what the database's
// clock can be. It is taken to be as near ours as that allows.
void RequestBudgets::learn_difference(std::int64_t resets_at, std::int64_t now) {
    const std::int64_t least = resets_at - kWindowSeconds - now;
    const std::int64_t most = resets_at - 1 - now;
    const bool fits = ahead_least_ <= ahead_most_ && least <= ahead_most_ && most >= ahead_least_;
    ahead_least_ = fits ? std::max(ahead_least_, least) : least;
    ahead_most_ = fits ? std::min(ahead_most_, most) : most;
    ahead_ = std::clamp<std::int64_t>(0, ahead_least_, ahead_most_);
}

BudgetState RequestBudgets::use(const std::string& token, std::int64_t now) {
    Entry& known = entry(token);
    BudgetState state;
    state.limit = known.limit;
    const bool is_fresh = known.fresh > 0;
    if (is_fresh && known.limit) {
        learn_difference(known.resets_at, now);
    }
    state.allowed = !known.limit || (known.at_hand > 0 && (is_fresh || seconds_left(known, now) > 0));
    known.fresh -= is_fresh ? 1 : 0;
    if (state.allowed && known.limit) {
        --known.at_hand;
    }
    state.remaining = known.limit ? std::max<std::int64_t>(known.remaining + known.at_hand, 0) : 0;
    state.reset_seconds = seconds_left(known, now);
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

#include "gateway/statement_cache.hpp"

#include <array>
#include <algorithm>

namespace sync_engine {

namespace {

bool is_control(const PgStatement& statement) {
    constexpr std::array<std::string_view, 3> words{"BEGIN", "COMMIT", "ROLLBACK"};
    return std::ranges::find(words, statement.sql) != words.end();
}

}  // namespace

StatementCache::Plan StatementCache::plan(const std::vector<PgStatement>& pipeline) {
    Plan plan;
    // A ROLLBACK on its own has to be the first that a failed transaction is told.
    if (distrusted_ && !std::ranges::all_of(pipeline, is_control)) {
        plan.before.emplace_back("DEALLOCATE ALL");
        distrusted_ = false;
    }
    std::unordered_map<std::string_view, std::string> fresh;
    std::unordered_map<std::string_view, bool> used;
    for (const PgStatement& statement : pipeline) {
        if (is_control(statement)) {
            plan.steps.emplace_back();
            continue;
        }
        if (const auto known = by_sql_.find(statement.sql); known != by_sql_.end()) {
            entries_.splice(entries_.begin(), entries_, known->second);
            used[statement.sql] = true;
            plan.steps.push_back({known->second->name, false});
            continue;
        }
        const auto [place, is_new] = fresh.try_emplace(statement.sql);
        if (is_new) {
            place->second = "s" + std::to_string(++last_number_);
        }
        plan.steps.push_back({place->second, is_new});
    }
    make_room(fresh.size(), used.size(), plan.before);
    return plan;
}

// The first `in_use` entries are those of the pipeline.
void StatementCache::make_room(std::size_t wanted, std::size_t in_use, std::vector<std::string>& before) {
    while (entries_.size() > in_use && entries_.size() + wanted > capacity_) {
        before.push_back("DEALLOCATE " + entries_.back().name);
        by_sql_.erase(entries_.back().sql);
        entries_.pop_back();
    }
}

void StatementCache::prepared(const std::string& sql, const std::string& name) {
    if (by_sql_.contains(sql)) {
        return;
    }
    entries_.push_front({sql, name});
    by_sql_.emplace(entries_.front().sql, entries_.begin());
}

void StatementCache::distrust() {
    clear();
    distrusted_ = true;
}

void StatementCache::clear() {
    by_sql_.clear();
    entries_.clear();
    distrusted_ = false;
}

}  // namespace sync_engine

#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "gateway/pg_statement.hpp"

namespace sync_engine {

// Which statements a connection has prepared, by their text: the least recently used go when there are too
// many. Knows nothing of the connection; what it plans has to be sent, and what came of it be told.
class StatementCache {
  public:
    explicit StatementCache(std::size_t capacity) : capacity_(capacity) {}

    struct Step {
        std::string name;  // of the prepared statement; empty: it is not to be prepared (BEGIN and the like)
        bool prepare = false;  // first
    };
    struct Plan {
        std::vector<std::string> before;  // statements to run first, which free what was prepared formerly
        std::vector<Step> steps;          // of each statement of the pipeline
    };

    // A pipeline of more than `capacity` texts is planned all the same.
    Plan plan(const std::vector<PgStatement>& pipeline);

    // The server has prepared it.
    void prepared(const std::string& sql, const std::string& name);

    // What is prepared on the server is of no use or not there: begins anew, and the next plan frees it.
    void distrust();

    // A new connection has nothing prepared.
    void clear();

    std::size_t size() const noexcept { return by_sql_.size(); }

  private:
    struct Entry {
        std::string sql;
        std::string name;
    };

    void make_room(std::size_t wanted, std::size_t in_use, std::vector<std::string>& before);

    std::size_t capacity_;
    std::uint64_t last_number_ = 0;
    bool distrusted_ = false;
    std::list<Entry> entries_;  // most recently used first
    std::unordered_map<std::string_view, std::list<Entry>::iterator> by_sql_;
};

}  // namespace sync_engine

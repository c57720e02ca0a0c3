#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "process/pg_handles.hpp"

namespace sync_engine {

struct PgStatement {
    std::string sql;
    std::vector<std::optional<std::string>> params;  // text format; nothing is NULL
};

// What became of a pipeline: statements up to one Sync, which are one transaction.
struct PgOutcome {
    enum class Status {
        done,
        failed,      // the server answered with an error; nothing of the pipeline is in effect
        lost,        // the connection broke, or there is none: whether it took effect is not known
        overloaded,  // no connection became free in time; nothing was sent
        timed_out,   // no answer in time; the connection was given up: whether it took effect is not known
    };
    Status status = Status::done;
    std::vector<PgResult> results;  // of each statement, when done
    // Of the error, when failed; message also when lost. They may quote data, and name hosts.
    std::string sqlstate, message, detail, hint, constraint;

    bool done() const noexcept { return status == Status::done; }
    const PGresult* result(std::size_t i = 0) const { return results.at(i).get(); }
};

}  // namespace sync_engine

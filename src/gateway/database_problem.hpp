#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gateway/http_message.hpp"
#include "gateway/pg_statement.hpp"
#include "gateway/problem.hpp"
#include "process/log.hpp"

namespace sync_engine {

struct DatabaseProblem {
    Problem problem;
    std::vector<std::pair<std::string, std::string>> headers;  // Retry-After, WWW-Authenticate
};

// Where the request names what the database does not find: 404, or 422 with a pointer into the body.
enum class NamedIn { path, body };

// What to tell a client of an outcome that is not done. What the database says about the client's own input
// is passed on, but for rows that a message quotes and hints that are for who writes SQL; anything unexpected
// is an internal error (500) of which the client learns nothing.
DatabaseProblem database_problem(const PgOutcome& outcome, NamedIn named = NamedIn::path);

// The same as a reply; what is unexpected is logged under the request's id.
HttpReply database_problem_reply(const PgOutcome& outcome, std::string_view request_id, Logger& log,
                                 NamedIn named = NamedIn::path);

// Whether the database has refused what the client is or may do, by its token: 401 or 403. What the gateway's
// own role may not do is no such refusal.
bool is_refusal_of_client(const PgOutcome& outcome);

// Whether a repetition may well succeed: two transactions were in each other's way.
bool is_conflict_of_transactions(const PgOutcome& outcome);

}  // namespace sync_engine

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "connectors/connector.hpp"
#include "executor/database.hpp"

namespace sync_engine {

// The calls of the schema sync that the executor makes: statements, and how their answers read. Parsers throw
// std::runtime_error when the answer does not have the shape that the protocol promises.

inline constexpr int kProtocol = 1;

struct ClaimedJob {
    Job job;
    std::string claim_token;
};

struct Registration {
    std::string incarnation;
    std::optional<double> lease_seconds;
};

struct JobOutcome {
    std::int64_t job_id = 0;
    std::string outcome;  // completed, repeated, stale, rejected
    std::string detail;
};

struct TickReport {
    long enqueued = 0;
    long skipped = 0;
    long requeued = 0;
    long backlog = 0;
    double duration_ms = 0;
    bool more = false;
};

Statement register_statement(const std::string& name, const std::string& info_json);
Registration parse_registration(const PGresult* result);

Statement claim_statement(const std::string& executor, std::size_t max_jobs);
std::vector<ClaimedJob> parse_claim(const PGresult* result);

Statement heartbeat_statement(const std::string& executor, const std::vector<std::int64_t>& job_ids);
// The jobs that must be dropped.
std::vector<std::int64_t> parse_cancelled(const PGresult* result);

Statement release_statement(const std::string& executor, const std::vector<std::int64_t>& job_ids,
                            const std::vector<std::string>& claim_tokens);

// Seconds from now until something can be claimed, at most a day, negative when already; nothing when nothing
// is queued.
Statement next_claim_statement();
std::optional<double> parse_next_claim(const PGresult* result);

std::vector<JobOutcome> parse_outcomes(const PGresult* result);

// Whether ticks are to be left alone, and the tick interval in seconds.
Statement tick_state_statement();
struct TickState {
    bool quiet = false;
    std::optional<double> interval_seconds;
};
TickState parse_tick_state(const PGresult* result);

// A transaction; the answer is in the third result.
std::vector<Statement> tick_script();
TickReport parse_tick(const PGresult* result);
// The same shape; true in its one field means that there is more to do.
std::vector<Statement> housekeeping_script();
inline constexpr std::size_t kScriptAnswer = 2;

bool parse_boolean(const PGresult* result);

// How the executor has to take an error of the server.
enum class SqlTrouble {
    passing,     // the same again, later
    bad_data,    // the same would fail again: what was sent cannot be stored
    superseded,  // this executor's name is taken by a newer process, or its protocol is not served
    read_only,   // the server is a standby: connect anew
};
SqlTrouble classify_sqlstate(std::string_view sqlstate);

}  // namespace sync_engine

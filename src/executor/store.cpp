#include "executor/store.hpp"

#include <algorithm>
#include <array>

#include "process/pg_values.hpp"

namespace sync_engine {

namespace {

// Neither a tick nor housekeeping may wait for a lock for longer; SET LOCAL ends with the transaction.
constexpr const char* kLockTimeout = "SET LOCAL lock_timeout = '500ms'";

}  // namespace

Statement register_statement(const std::string& name, const std::string& info_json) {
    return {
        "SELECT sync.register_executor($1, $2::int, $3::jsonb), current_setting('sync_engine.lease_seconds', "
        "true)",
        {name, std::to_string(kProtocol), info_json}};
}

Registration parse_registration(const PGresult* result) {
    const Row row = only_row(result, 2);
    Registration registration{row.text(0), std::nullopt};
    if (!row.is_null(1)) {
        registration.lease_seconds = row.real(1);
    }
    return registration;
}

Statement claim_statement(const std::string& executor, std::size_t max_jobs) {
    // A claim is a lease, not data: one that a crash of the server undoes leaves a queued job and a token
    // that is stale, as a lease that ran out does. So nobody waits for the disk before the work begins;
    // whatever follows is written behind it.
    return {
        "SELECT job_id, claim_token, tenant_id, connection_id, provider_slug, job_type, attempts, cursor, "
        "input, connector, config "
        "FROM set_config('synchronous_commit', 'off', true), LATERAL sync.claim_jobs($1, $2::int)",
        {executor, std::to_string(max_jobs)}};
}

std::vector<ClaimedJob> parse_claim(const PGresult* result) {
    std::vector<ClaimedJob> jobs;
    const int rows = PQntuples(result);
    jobs.reserve(static_cast<std::size_t>(rows));
    for (int i = 0; i < rows; ++i) {
        const Row row(result, i);
        ClaimedJob claimed{};
        claimed.job.job_id = row.integer(0);
        claimed.claim_token = row.text(1);
        claimed.job.tenant_id = row.text(2);
        claimed.job.connection_id = row.integer(3);
        claimed.job.provider_slug = row.text(4);
        claimed.job.job_type = row.text(5);
        claimed.job.attempts = static_cast<int>(row.integer(6));
        claimed.job.cursor_json = row.text(7);
        claimed.job.input_json = row.text(8);
        claimed.job.connector = row.text(9);
        claimed.job.config_json = row.text(10);
        jobs.push_back(std::move(claimed));
    }
    return jobs;
}

Statement heartbeat_statement(const std::string& executor, const std::vector<std::int64_t>& job_ids) {
    return {"SELECT job_id, instruction FROM sync.heartbeat($1, $2::bigint[])",
            {executor, id_array(job_ids)}};
}

std::vector<std::int64_t> parse_cancelled(const PGresult* result) {
    std::vector<std::int64_t> cancelled;
    for (int i = 0; i < PQntuples(result); ++i) {
        const Row row(result, i);
        if (row.text(1) == "cancel") {
            cancelled.push_back(row.integer(0));
        }
    }
    return cancelled;
}

Statement release_statement(const std::string& executor, const std::vector<std::int64_t>& job_ids,
                            const std::vector<std::string>& claim_tokens) {
    return {"SELECT sync.release_jobs($1, $2::bigint[], $3::uuid[])",
            {executor, id_array(job_ids),
             array_literal(claim_tokens, [](const std::string& token) { return token; })}};
}

Statement next_claim_statement() {
    return {
        "SELECT CASE WHEN n IS NOT NULL THEN "
        "extract(epoch FROM least(greatest(n, now()), now() + interval '1 day') - clock_timestamp())::float8 "
        "END "
        "FROM sync.next_claim_at() n",
        {}};
}

std::optional<double> parse_next_claim(const PGresult* result) {
    const Row row = only_row(result, 1);
    return row.is_null(0) ? std::nullopt : std::optional(row.real(0));
}

std::vector<JobOutcome> parse_outcomes(const PGresult* result) {
    std::vector<JobOutcome> outcomes;
    for (int i = 0; i < PQntuples(result); ++i) {
        const Row row(result, i);
        if (!row.is_null(0)) {
            outcomes.push_back({row.integer(0), row.text(1), row.text(2)});
        }
    }
    return outcomes;
}

Statement tick_state_statement() {
    return {"SELECT sync._is_quiet(), current_setting('sync_engine.tick_interval_seconds', true)", {}};
}

TickState parse_tick_state(const PGresult* result) {
    const Row row = only_row(result, 2);
    TickState state{row.boolean(0), std::nullopt};
    if (!row.is_null(1)) {
        state.interval_seconds = row.real(1);
    }
    return state;
}

std::vector<Statement> tick_script() {
    return {{"BEGIN", {}},
            {kLockTimeout, {}},
            {"SELECT enqueued, skipped, requeued, backlog, duration_ms, more FROM sync.tick_batch()", {}},
            {"COMMIT", {}}};
}

TickReport parse_tick(const PGresult* result) {
    const Row row = only_row(result, 6);
    return {row.integer(0), row.integer(1), row.integer(2), row.is_null(3) ? 0 : row.integer(3),
            row.real(4),    row.boolean(5)};
}

std::vector<Statement> housekeeping_script() {
    return {{"BEGIN", {}}, {kLockTimeout, {}}, {"SELECT sync._housekeeping()", {}}, {"COMMIT", {}}};
}

bool parse_boolean(const PGresult* result) {
    return only_row(result, 1).boolean(0);
}

SqlTrouble classify_sqlstate(std::string_view sqlstate) {
    // 54000 and its like: too deep, too long. XX000: one value that the server chokes on must not stop the
    // others.
    constexpr std::array<std::string_view, 5> kDataClasses{"21", "22", "23", "54", "XX"};
    if (sqlstate == "55000" || sqlstate == "0A000") {
        return SqlTrouble::superseded;
    }
    if (sqlstate == "25006") {
        return SqlTrouble::read_only;
    }
    const bool data = std::any_of(kDataClasses.begin(), kDataClasses.end(),
                                  [&](std::string_view prefix) { return sqlstate.starts_with(prefix); });
    return data ? SqlTrouble::bad_data : SqlTrouble::passing;
}

}  // namespace sync_engine

#include "gateway/live_reader.hpp"

#include <map>
#include <optional>
#include <utility>

#include "process/pg_values.hpp"

namespace sync_engine {

namespace asio = boost::asio;

namespace {

constexpr int kMostChanges = 1000;

struct Change {
    std::string position;
    std::string kind;
    std::string connection_id;  // empty: null
    std::string object_id;
};

PgStatement begin_statement(const std::string& token, const std::string& request_id = "") {
    return {"SELECT tenant_id FROM sync.begin_request($1, 'read', NULL, NULLIF($2, ''))",
            {token, request_id}};
}

PgStatement watch_statement() {
    return {"SELECT \"position\", sync.change_slot() FROM sync.watch_changes($1)",
            {std::to_string(kWatchSeconds)}};
}

std::vector<Change> changes_of(const PGresult* result) {
    std::vector<Change> changes;
    for (int i = 0; i < PQntuples(result); ++i) {
        const Row row(result, i);
        changes.push_back({row.text(0), row.text(1), row.text(2), row.text(3)});
    }
    return changes;
}

// What is asked about objects of each kind: ids as arrays $1 (of connections) and $2 (of objects), answered
// with a row for each pair, in the same order: its data.
const std::map<std::string, std::string, std::less<>>& state_queries() {
    static const std::map<std::string, std::string, std::less<>> queries{{"job", R"(
SELECT jsonb_build_object('connection_id', c.connection_id, 'job_id', c.id, 'job',
    (SELECT to_jsonb(j) FROM (
        SELECT x.id, x.job_type, x.status, x.priority, x.attempts, x.page, x.run_id, x.scheduled_at, x.retry_after, x.started_at,
               x.error_kind, x.signals_inserted, x.signals_duplicate, x.schedule_id, x.planned_at, x.trigger_type, x.created_at
        FROM ONLY sync.sync_jobs x
        WHERE x.connection_id = c.connection_id AND x.status IN ('queued', 'running')
        ORDER BY x.id <> c.id, x.status DESC, x.id LIMIT 1) j), 'execution',
    (SELECT to_jsonb(e) FROM (
        SELECT x.id, x.job_id, x.run_id, x.job_type, x.attempt, x.page, x.status, x.job_status, x.kind, x.scheduled_at, x.started_at,
               x.finished_at, x.duration_ms, x.signals_received, x.signals_inserted, x.signals_duplicate, x.retry_after, x.error,
               x.schedule_id, x.planned_at, x.trigger_type
        FROM sync.sync_executions x
        WHERE x.connection_id = c.connection_id AND x.finished_at > now() - interval '1 day'
        ORDER BY x.id DESC LIMIT 1) e))
FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY c (connection_id, id, n) ORDER BY c.n)"},
                                                                         {"connection", R"(
SELECT jsonb_build_object('connection_id', c.connection_id, 'connection',
    (SELECT to_jsonb(s) FROM sync.connection_status s WHERE s.connection_id = c.connection_id))
FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY c (connection_id, id, n) ORDER BY c.n)"},
                                                                         {"schedule", R"(
SELECT jsonb_build_object('connection_id', c.connection_id, 'schedule_id', c.id, 'schedule',
    (SELECT to_jsonb(s) FROM sync.schedule_status s WHERE s.schedule_id = c.id))
FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY c (connection_id, id, n) ORDER BY c.n)"},
                                                                         {"notification", R"(
SELECT jsonb_build_object('connection_id', c.connection_id, 'id', c.id, 'incident',
    (SELECT to_jsonb(i) FROM (
        SELECT x.id, x.connection_id, x.provider_slug, x.class, x.severity, x.job_type, x.schedule_id, x.job_id, x.opened_at,
               x.last_seen_at, x.occurrences, x.failed_runs, x.error, x.resolved_at, x.resolution
        FROM sync.incidents x WHERE x.connection_id = c.connection_id ORDER BY x.id DESC LIMIT 1) i))
FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY c (connection_id, id, n) ORDER BY c.n)"}};
    return queries;
}

// A statement for each kind that is among them, in the order of the kinds' names.
std::vector<PgStatement> ask_state(const std::string& token, const std::vector<Change>& changes) {
    std::vector<PgStatement> pipeline;
    pipeline.push_back(begin_statement(token));
    for (const auto& [kind, sql] : state_queries()) {
        std::string connections;
        std::string objects;
        for (const Change& change : changes) {
            if (change.kind == kind) {
                connections += (connections.empty() ? "" : ",") +
                               (change.connection_id.empty() ? std::string("NULL") : change.connection_id);
                objects += (objects.empty() ? "" : ",") +
                           (change.object_id.empty() ? std::string("NULL") : change.object_id);
            }
        }
        if (!connections.empty()) {
            pipeline.push_back({sql, {"{" + connections + "}", "{" + objects + "}"}});
        }
    }
    return pipeline;
}

// A kind that this gateway does not know is told without data.
std::vector<LiveEvent> events_of(std::vector<Change> changes, const PgOutcome& states) {
    std::map<std::string, std::pair<const PGresult*, int>, std::less<>> answers;
    std::size_t next = 1;
    for (const auto& [kind, sql] : state_queries()) {
        for (const Change& change : changes) {
            if (change.kind == kind) {
                answers[kind] = {states.result(next++), 0};
                break;
            }
        }
    }
    std::vector<LiveEvent> events;
    for (Change& change : changes) {
        LiveEvent event{std::move(change.position), change.kind, change.connection_id, "{}"};
        if (const auto answer = answers.find(change.kind); answer != answers.end()) {
            auto& [result, row] = answer->second;
            event.data = row < PQntuples(result) ? Row(result, row).text(0) : "{}";
            ++row;
        }
        events.push_back(std::move(event));
    }
    return events;
}

}  // namespace

asio::awaitable<LiveBatch> read_live(PgPool& pool, std::string token, std::string after, bool watch) {
    std::vector<PgStatement> pipeline;
    pipeline.push_back(begin_statement(token));
    if (watch) {
        pipeline.push_back(watch_statement());
    }
    pipeline.push_back({"SELECT \"position\", kind, connection_id, object_id FROM sync.read_changes($1, $2)",
                        {std::move(after), std::to_string(kMostChanges)}});
    LiveBatch batch;
    batch.outcome = co_await pool.run(std::move(pipeline), token);
    if (!batch.outcome.done()) {
        co_return batch;
    }
    std::vector<Change> changes = changes_of(batch.outcome.results.back().get());
    if (changes.empty()) {
        co_return batch;
    }
    if (changes.back().kind == kResetEvent) {
        batch.events.push_back(reset_event(changes.back().position));
        co_return batch;
    }
    batch.more = changes.size() >= kMostChanges;
    // In a transaction of its own that sees what has changed: the ring is read before the tables.
    batch.outcome = co_await pool.run(ask_state(token, changes), token);
    if (batch.outcome.done()) {
        batch.events = events_of(std::move(changes), batch.outcome);
    }
    co_return batch;
}

asio::awaitable<LiveOpening> open_live(PgPool& pool, std::string token, std::string request_id) {
    std::vector<PgStatement> pipeline;
    pipeline.push_back(begin_statement(token, request_id));
    pipeline.push_back(watch_statement());
    LiveOpening opening;
    opening.outcome = co_await pool.run(std::move(pipeline), token);
    if (opening.outcome.done()) {
        opening.tenant_id = only_row(opening.outcome.result(0), 1).text(0);
        opening.position = only_row(opening.outcome.result(1), 2).text(0);
        opening.slot = only_row(opening.outcome.result(1), 2).text(1);
    }
    co_return opening;
}

asio::awaitable<PgOutcome> check_live(PgPool& pool, std::string token) {
    std::vector<PgStatement> pipeline;
    pipeline.push_back(begin_statement(token));
    co_return co_await pool.run(std::move(pipeline), token);
}

}  // namespace sync_engine

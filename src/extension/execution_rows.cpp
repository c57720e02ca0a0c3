// The execution history's side of a completion.
#include "extension/execution_rows.hpp"

#include "extension/job_functions.hpp"

extern "C" {
#include "commands/sequence.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"
}

namespace sync_engine {
namespace {

constexpr const char* kCopied[kCopiedColumns] = {
    "tenant_id",    "provider_slug", "connection_id", "run_id",      "job_type",  "page",
    "scheduled_at", "claimed_by",    "claim_token",   "schedule_id", "planned_at"};

Datum text_datum(const char* value) {
    return PointerGetDatum(cstring_to_text(value));
}

Datum empty_object() {
    JsonbParseState* state = nullptr;
    pushJsonbValue(&state, WJB_BEGIN_OBJECT, nullptr);
    return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, nullptr)));
}

// What brought the attempt about: as sync._trigger_type has it.
Datum trigger_type_of(const ExecutionRows& rows, const RowTable* jobs) {
    if (DatumGetInt32(column_value(jobs, rows.job.job_attempts)) > 0) {
        return text_datum("retry");
    }
    return DatumGetInt32(column_value(jobs, rows.job.job_page)) > 1
               ? text_datum("follow_up")
               : column_value(jobs, rows.job.job_trigger_type);
}

}  // namespace

ExecutionRows open_executions(const RowTable* jobs, TimestampTz finished_at) {
    ExecutionRows rows = {};
    rows.table = open_partition("sync_executions", TimestampTzGetDatum(finished_at), RowExclusiveLock);
    rows.finished_at = finished_at;
    rows.ids = oid_of("sync_executions_id_seq");
    for (int i = 0; i < kCopiedColumns; ++i) {
        rows.job.from[i] = column_of(jobs, kCopied[i]);
        rows.job.to[i] = column_of(rows.table, kCopied[i]);
    }
    rows.job.job_id = column_of(jobs, "id");
    rows.job.job_attempts = column_of(jobs, "attempts");
    rows.job.job_page = column_of(jobs, "page");
    rows.job.job_claimed_at = column_of(jobs, "claimed_at");
    rows.job.job_trigger_type = column_of(jobs, "trigger_type");
    rows.id = column_of(rows.table, "id");
    rows.job_id = column_of(rows.table, "job_id");
    rows.attempt = column_of(rows.table, "attempt");
    rows.status = column_of(rows.table, "status");
    rows.job_status = column_of(rows.table, "job_status");
    rows.ended_by = column_of(rows.table, "ended_by");
    rows.kind = column_of(rows.table, "kind");
    rows.started_at = column_of(rows.table, "started_at");
    rows.finished = column_of(rows.table, "finished_at");
    rows.duration_ms = column_of(rows.table, "duration_ms");
    rows.signals_received = column_of(rows.table, "signals_received");
    rows.signals_inserted = column_of(rows.table, "signals_inserted");
    rows.signals_duplicate = column_of(rows.table, "signals_duplicate");
    rows.next_cursor = column_of(rows.table, "next_cursor");
    rows.has_more = column_of(rows.table, "has_more");
    rows.error = column_of(rows.table, "error");
    rows.stats = column_of(rows.table, "stats");
    rows.trigger_type = column_of(rows.table, "trigger_type");
    rows.cursor_before = column_of(rows.table, "cursor_before");
    return rows;
}

void add_execution(const ExecutionRows& rows, const RowTable* jobs, const Attempt& attempt) {
    TupleTableSlot* row = new_row(rows.table);
    const auto put = [row](AttrNumber column, NullableDatum value) {
        row->tts_values[column - 1] = value.value;
        row->tts_isnull[column - 1] = value.isnull;
    };
    const auto set = [&put](AttrNumber column, Datum value) { put(column, {value, false}); };
    memset(row->tts_isnull, true, static_cast<Size>(RelationGetDescr(rows.table->relation)->natts));
    for (int i = 0; i < kCopiedColumns; ++i) {
        put(rows.job.to[i], nullable_column(jobs, rows.job.from[i]));
    }
    const Datum status = text_datum(attempt.failed ? "failed" : "succeeded");
    const TimestampTz claimed_at = DatumGetTimestampTz(column_value(jobs, rows.job.job_claimed_at));
    set(rows.id, Int64GetDatum(nextval_internal(rows.ids, false)));
    set(rows.job_id, column_value(jobs, rows.job.job_id));
    set(rows.attempt, Int32GetDatum(DatumGetInt32(column_value(jobs, rows.job.job_attempts)) + 1));
    set(rows.status, status);
    set(rows.job_status, status);
    set(rows.ended_by, text_datum("complete"));
    if (attempt.failed) {
        set(rows.kind, text_datum("permanent"));
    }
    set(rows.started_at, TimestampTzGetDatum(claimed_at));
    set(rows.finished, TimestampTzGetDatum(rows.finished_at));
    set(rows.duration_ms,
        Float8GetDatum(Max(static_cast<double>(rows.finished_at - claimed_at) / 1000.0, 0.0)));
    set(rows.signals_received, Int32GetDatum(attempt.received));
    set(rows.signals_inserted, Int32GetDatum(attempt.inserted));
    set(rows.signals_duplicate, Int32GetDatum(attempt.received - attempt.inserted));
    set(rows.trigger_type, trigger_type_of(rows, jobs));
    put(rows.cursor_before, attempt.cursor_before);
    put(rows.next_cursor, attempt.cursor);
    set(rows.has_more, BoolGetDatum(attempt.more));
    put(rows.error, attempt.error);
    set(rows.stats, attempt.stats.isnull ? empty_object() : attempt.stats.value);
    add_row(rows.table, row);
}

}  // namespace sync_engine

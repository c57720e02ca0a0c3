#include "extension/end_job.hpp"

#include "extension/claim_token.hpp"
#include "extension/due_hint.hpp"
#include "extension/job_cursor.hpp"
#include "extension/sql_functions.hpp"

extern "C" {
#include "executor/spi.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"
}

namespace sync_engine {

struct EndCounts {
    EndCounts* next;
    text* slug;
    double succeeded;
    double failed;
    double inserted;
    double duplicate;
};

namespace {

JobColumns job_columns(const RowTable* jobs) {
    return {column_of(jobs, "id"),
            column_of(jobs, "tenant_id"),
            column_of(jobs, "provider_slug"),
            column_of(jobs, "connection_id"),
            column_of(jobs, "job_type"),
            column_of(jobs, "status"),
            column_of(jobs, "claimed_at"),
            column_of(jobs, "claim_token"),
            column_of(jobs, "rerun_priority"),
            column_of(jobs, "signals_inserted"),
            column_of(jobs, "signals_duplicate"),
            column_of(jobs, "cursor")};
}

FinishedColumns finished_columns(const RowTable* finished, const RowTable* jobs) {
    FinishedColumns done = {column_of(finished, "status"),
                            column_of(finished, "finished_at"),
                            column_of(finished, "error"),
                            column_of(finished, "error_kind"),
                            column_of(finished, "signals_inserted"),
                            column_of(finished, "signals_duplicate"),
                            nullptr,
                            RelationGetDescr(finished->relation)->natts};
    done.from = static_cast<AttrNumber*>(palloc0(sizeof(AttrNumber) * static_cast<Size>(done.count)));
    for (int i = 0; i < done.count; ++i) {
        const Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(finished->relation), i);
        // What a dated table has beside is null.
        done.from[i] =
            attribute->attisdropped
                ? 0
                : static_cast<AttrNumber>(
                      Max(SPI_fnumber(RelationGetDescr(jobs->relation), NameStr(attribute->attname)), 0));
    }
    return done;
}

EndCounts* counts_of(End* end, Datum slug) {
    if (EndCounts* known = find_by_slug(end->counts, slug)) {
        return known;
    }
    MemoryContext caller = MemoryContextSwitchTo(end->memory);
    auto* counts = static_cast<EndCounts*>(palloc0(sizeof(EndCounts)));
    counts->slug = DatumGetTextPCopy(slug);
    counts->next = end->counts;
    MemoryContextSwitchTo(caller);
    return end->counts = counts;
}

void count_job(End* end, const Ending& job) {
    EndCounts* counts = counts_of(end, column_value(end->jobs, end->job.provider_slug));
    (job.failed ? counts->failed : counts->succeeded) += 1;
    counts->inserted += job.inserted;
    counts->duplicate += job.received - job.inserted;
    const double seconds =
        static_cast<double>(end->as_of - DatumGetTimestampTz(column_value(end->jobs, end->job.claimed_at))) /
        USECS_PER_SEC;
    count_metric("sync_run_duration_seconds", nullptr, Max(seconds, 0.0));
}

TimestampTz next_run(const End& end, const Ending& job) {
    return end.as_of + job.base_seconds * USECS_PER_SEC;
}

void keep_job(const End& end, const Given& given, const Ending& job) {
    const FinishedColumns& done = end.done;
    slot_getallattrs(end.jobs->row);
    TupleTableSlot* row = new_row(end.finished);
    for (int i = 0; i < done.count; ++i) {
        row->tts_isnull[i] = done.from[i] == 0 || end.jobs->row->tts_isnull[done.from[i] - 1];
        row->tts_values[i] = row->tts_isnull[i] ? 0 : end.jobs->row->tts_values[done.from[i] - 1];
    }
    const auto set = [row](AttrNumber column, Datum value) {
        row->tts_values[column - 1] = value;
        row->tts_isnull[column - 1] = false;
    };
    set(done.status, PointerGetDatum(cstring_to_text(job.failed ? "failed" : "succeeded")));
    set(done.finished_at, TimestampTzGetDatum(end.as_of));
    set(done.signals_inserted, Int32GetDatum(job.inserted));
    set(done.signals_duplicate, Int32GetDatum(job.received - job.inserted));
    if (job.failed) {
        set(done.error, given.error.value);
        set(done.error_kind, PointerGetDatum(cstring_to_text("permanent")));
    }
    add_row(end.finished, row);
}

// A run that is over sets the next; a cursor counts at once in an incremental run, else when the last page is
// in.
void move_connection(const End& end, const Given& given, const Ending& job) {
    const bool ends_run = job.incremental && !job.goes_on;
    NullableDatum cursor = given.cursor;
    cursor.isnull = cursor.isnull || !(job.incremental || !given.more);
    if (!ends_run && cursor.isnull) {
        if (!end.locked && !lock_row(end.connections, LockTupleNoKeyExclusive, false, false)) {
            report_conflict(end.connections);
        }
        return;
    }
    NullableDatum time = {};
    time.isnull = !ends_run || job.scheduled;
    time.value = TimestampTzGetDatum(next_run(end, job));
    NullableDatum no_jitter = {};
    no_jitter.isnull = true;
    begin_change(end.connections);
    set_column(end.connections, end.metadata,
               call_function(sync_engine_metadata_run,
                             {nullable_column(end.connections, end.metadata), time, no_jitter, cursor}));
    if (ends_run) {
        set_column(end.connections, end.last_finished, TimestampTzGetDatum(end.as_of));
    }
    if (!change_row(end.connections, end.locked)) {
        report_conflict(end.connections);
    }
}

bool free_row(const End& end, const Ending& job) {
    begin_change(end.states);
    set_column(end.states, end.running_job_id, 0, true);
    if (job.incremental) {
        // The tick looks again unless another job of the sort is to come, or nothing is.
        const bool looks_again = !job.goes_on && job.active && !job.again && !job.scheduled;
        set_column(end.states, end.due_at, TimestampTzGetDatum(next_run(end, job)), !looks_again);
        if (looks_again) {
            note_due(next_run(end, job));
        }
    }
    return change_row(end.states, end.locked);
}

void free_connection(const End& end, const Ending& job) {
    // A job that runs has a token: a constraint sees to it.
    const pg_uuid_t token = *DatumGetUUIDP(column_value(end.jobs, end.job.claim_token));
    const int64 connection = DatumGetInt64(column_value(end.jobs, end.job.connection_id));
    if (!find_row_near(end.states, places_in(token).state, end.state_connection, connection) ||
        free_row(end, job)) {
        return;
    }
    // Somebody who holds no connection, as _restate, had it meanwhile.
    if (!end.locked || !lock_row(end.states, LockTupleNoKeyExclusive, true, true) || !free_row(end, job)) {
        report_conflict(end.states);
    }
}

}  // namespace

End start_end(TimestampTz as_of, bool locked) {
    static const char* const kMoved[] = {"last_incremental_finished_at", "metadata"};
    static const char* const kFreed[] = {"running_job_id", "due_at"};
    End end = {};
    end.memory = CurrentMemoryContext;
    end.as_of = as_of;
    end.locked = locked;
    end.jobs = open_table("sync_jobs", RowExclusiveLock);
    end.finished = open_table_behind_view("_finished_jobs", RowExclusiveLock);
    end.connections = open_table("connections", RowExclusiveLock, kMoved, lengthof(kMoved));
    end.states = open_table("connection_state", RowExclusiveLock, kFreed, lengthof(kFreed));
    end.executions = open_executions(end.jobs, as_of);
    end.job = job_columns(end.jobs);
    end.done = finished_columns(end.finished, end.jobs);
    end.connection_status = column_of(end.connections, "status");
    end.metadata = column_of(end.connections, "metadata");
    end.last_finished = column_of(end.connections, "last_incremental_finished_at");
    end.of_connection = column_of(end.connections, "id");
    end.has_schedules = column_of(end.connections, "has_schedules");
    end.running_job_id = column_of(end.states, "running_job_id");
    end.due_at = column_of(end.states, "due_at");
    end.state_connection = column_of(end.states, "connection_id");
    return end;
}

void finish_end(const End& end) {
    for (const EndCounts* counts = end.counts; counts != nullptr; counts = counts->next) {
        if (counts->succeeded > 0) {
            count_metric("sync_jobs_succeeded_total", counts->slug, counts->succeeded);
        }
        if (counts->failed > 0) {
            count_metric("sync_jobs_failed_total", counts->slug, counts->failed, "permanent");
        }
        count_metric("sync_signals_total", counts->slug, counts->inserted);
        count_metric("sync_signals_duplicate_total", counts->slug, counts->duplicate);
    }
    close_table(end.jobs);
    close_table(end.finished);
    close_table(end.connections);
    close_table(end.states);
    close_table(end.executions.table);
}

Ending read_ending(const End& end, const Given& given) {
    Ending job = {};
    job.incremental = text_is(column_value(end.jobs, end.job.job_type), "incremental");
    job.failed = !given.error.isnull;
    job.goes_on = given.more && !job.failed;
    job.active = text_is(column_value(end.connections, end.connection_status), "active");
    job.again = !nullable_column(end.jobs, end.job.rerun_priority).isnull;
    job.scheduled = DatumGetBool(column_value(end.connections, end.has_schedules));
    job.base_seconds = DatumGetInt32(
        call_function(sync_engine_base_seconds, {nullable_column(end.connections, end.metadata)}));
    const int32 inserted_before = DatumGetInt32(column_value(end.jobs, end.job.signals_inserted));
    job.inserted = given.inserted + inserted_before;
    job.received =
        given.received + inserted_before + DatumGetInt32(column_value(end.jobs, end.job.signals_duplicate));
    return job;
}

void write_ending(End* end, const Given& given, const Ending& job) {
    const NullableDatum cursor_before =
        job_cursor(nullable_column(end->jobs, end->job.cursor), job.incremental,
                   nullable_column(end->connections, end->metadata));
    // First what guards the job.
    move_connection(*end, given, job);
    add_execution(end->executions, end->jobs,
                  {job.failed, given.more, job.received, job.inserted, cursor_before, given.cursor,
                   given.stats, given.error});
    count_job(end, job);
    note_job(column_value(end->jobs, end->job.tenant_id), column_value(end->jobs, end->job.connection_id),
             column_value(end->jobs, end->job.id));
    // Before it is kept, which can be in the same table.
    delete_row(end->jobs, end->locked);
    keep_job(*end, given, job);
    free_connection(*end, job);
}

}  // namespace sync_engine

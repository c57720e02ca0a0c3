// The writing half of complete_jobs: each job leaves the queue for the table of finished ones, its connection
// gets its cursor and next run and is free again. What the caller has locked is taken as it is.
#include "extension/boundary.hpp"
#include "extension/claim_token.hpp"
#include "extension/due_hint.hpp"
#include "extension/execution_rows.hpp"
#include "extension/job_functions.hpp"
#include "extension/records.hpp"
#include "extension/sql_functions.hpp"

extern "C" {
#include "executor/spi.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"
}

using namespace sync_engine;

namespace {

// A column of the result that is one of the job's.
constexpr const char* kEchoed[] = {
    "id",         "tenant_id",     "provider_slug",  "connection_id", "job_type",
    "priority",   "attempts",      "scheduled_at",   "input",         "run_id",
    "page",       "stalled_pages", "rerun_priority", "claimed_by",    "claimed_at",
    "claim_token"};

struct JobColumns {
    AttrNumber provider_slug, connection_id, job_type, claimed_at, claim_token, rerun_priority,
        signals_inserted, signals_duplicate;
    AttrNumber echoed[lengthof(kEchoed)];
};

// In the table of finished jobs.
struct FinishedColumns {
    AttrNumber status, finished_at, error, error_kind, signals_inserted, signals_duplicate;
    AttrNumber* from;  // for each column the one of sync_jobs that it takes
    int count;
};

struct Counts {
    Counts* next;
    text* slug;
    double succeeded;
    double failed;
    double inserted;
    double duplicate;
};

struct Arguments {
    Elements jobs, connections, received, inserted, cursors, more, stats, errors;
    TimestampTz as_of;
};

struct End {
    RowTable* jobs;
    RowTable* finished;
    RowTable* connections;
    RowTable* states;
    ExecutionRows executions;
    JobColumns job;
    FinishedColumns done;
    AttrNumber connection_status, metadata, last_finished;
    AttrNumber running_job_id, due_at, state_connection;
    Counts* counts;
    MemoryContext memory;
    Arguments given;
    ResultSet result;
};

// What is known of the job at hand.
struct Job {
    int at;
    bool incremental;
    bool more;
    bool failed;
    bool goes_on;
    bool active;
    bool again;  // a trigger came meanwhile
    int32 base_seconds;
    int32 received;
    int32 inserted;
};

int32 int_element(const Elements& elements, int i) {
    return elements.is_null(i) ? 0 : DatumGetInt32(elements.values[i]);
}

NullableDatum element(const Elements& elements, int i) {
    NullableDatum value = {};
    value.isnull = elements.is_null(i);
    value.value = value.isnull ? 0 : elements.values[i];
    return value;
}

Arguments arguments_of(FunctionCallInfo fcinfo) {
    return {elements_of(fcinfo, 0), elements_of(fcinfo, 1), elements_of(fcinfo, 2),
            elements_of(fcinfo, 3), elements_of(fcinfo, 4), elements_of(fcinfo, 5),
            elements_of(fcinfo, 6), elements_of(fcinfo, 7), PG_GETARG_TIMESTAMPTZ(8)};
}

JobColumns job_columns(const RowTable* jobs) {
    JobColumns job = {column_of(jobs, "provider_slug"),
                      column_of(jobs, "connection_id"),
                      column_of(jobs, "job_type"),
                      column_of(jobs, "claimed_at"),
                      column_of(jobs, "claim_token"),
                      column_of(jobs, "rerun_priority"),
                      column_of(jobs, "signals_inserted"),
                      column_of(jobs, "signals_duplicate"),
                      {}};
    for (std::size_t i = 0; i < lengthof(kEchoed); ++i) {
        job.echoed[i] = column_of(jobs, kEchoed[i]);
    }
    return job;
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

End start_end(FunctionCallInfo fcinfo) {
    static const char* const kMoved[] = {"last_incremental_finished_at", "metadata"};
    static const char* const kFreed[] = {"running_job_id", "due_at"};
    End end = {};
    end.memory = CurrentMemoryContext;
    end.given = arguments_of(fcinfo);
    end.jobs = open_table("sync_jobs", RowExclusiveLock);
    end.finished = open_table_behind_view("_finished_jobs", RowExclusiveLock);
    end.connections = open_table("connections", RowExclusiveLock, kMoved, lengthof(kMoved));
    end.states = open_table("connection_state", RowExclusiveLock, kFreed, lengthof(kFreed));
    end.executions = open_executions(end.jobs, end.given.as_of);
    end.job = job_columns(end.jobs);
    end.done = finished_columns(end.finished, end.jobs);
    end.connection_status = column_of(end.connections, "status");
    end.metadata = column_of(end.connections, "metadata");
    end.last_finished = column_of(end.connections, "last_incremental_finished_at");
    end.running_job_id = column_of(end.states, "running_job_id");
    end.due_at = column_of(end.states, "due_at");
    end.state_connection = column_of(end.states, "connection_id");
    end.result = begin_result_set(fcinfo);
    return end;
}

void finish_end(const End& end) {
    for (const Counts* counts = end.counts; counts != nullptr; counts = counts->next) {
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

Counts* counts_of(End* end, Datum slug) {
    for (Counts* counts = end->counts; counts != nullptr; counts = counts->next) {
        if (text_is(slug, {VARDATA_ANY(counts->slug), VARSIZE_ANY_EXHDR(counts->slug)})) {
            return counts;
        }
    }
    MemoryContext caller = MemoryContextSwitchTo(end->memory);
    auto* counts = static_cast<Counts*>(palloc0(sizeof(Counts)));
    const text* given = DatumGetTextPP(slug);
    counts->slug = cstring_to_text_with_len(VARDATA_ANY(given), static_cast<int>(VARSIZE_ANY_EXHDR(given)));
    counts->next = end->counts;
    MemoryContextSwitchTo(caller);
    return end->counts = counts;
}

void count_job(End* end, const Job& job) {
    Counts* counts = counts_of(end, column_value(end->jobs, end->job.provider_slug));
    (job.failed ? counts->failed : counts->succeeded) += 1;
    counts->inserted += job.inserted;
    counts->duplicate += job.received - job.inserted;
    const double seconds = static_cast<double>(end->given.as_of - DatumGetTimestampTz(column_value(
                                                                      end->jobs, end->job.claimed_at))) /
                           USECS_PER_SEC;
    count_metric("sync_run_duration_seconds", nullptr, Max(seconds, 0.0));
}

Job read_job(const End& end, int at) {
    const Arguments& given = end.given;
    Job job = {};
    job.at = at;
    job.incremental = text_is(column_value(end.jobs, end.job.job_type), "incremental");
    job.more = !given.more.is_null(at) && DatumGetBool(given.more.values[at]);
    job.failed = !given.errors.is_null(at);
    job.goes_on = job.more && !job.failed;
    job.active = text_is(column_value(end.connections, end.connection_status), "active");
    job.again = !nullable_column(end.jobs, end.job.rerun_priority).isnull;
    job.base_seconds = DatumGetInt32(
        call_function(sync_engine_base_seconds, {nullable_column(end.connections, end.metadata)}));
    const int32 inserted_before = DatumGetInt32(column_value(end.jobs, end.job.signals_inserted));
    job.inserted = int_element(given.inserted, at) + inserted_before;
    job.received = int_element(given.received, at) + inserted_before +
                   DatumGetInt32(column_value(end.jobs, end.job.signals_duplicate));
    return job;
}

TimestampTz next_run(const End& end, const Job& job) {
    return end.given.as_of + job.base_seconds * USECS_PER_SEC;
}

void keep_job(const End& end, const Job& job) {
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
    set(done.finished_at, TimestampTzGetDatum(end.given.as_of));
    set(done.signals_inserted, Int32GetDatum(job.inserted));
    set(done.signals_duplicate, Int32GetDatum(job.received - job.inserted));
    if (job.failed) {
        set(done.error, end.given.errors.values[job.at]);
        set(done.error_kind, PointerGetDatum(cstring_to_text("permanent")));
    }
    add_row(end.finished, row);
}

// A run that is over sets the next; a cursor counts at once in an incremental run, else when the last page is
// in.
void move_connection(const End& end, const Job& job) {
    const bool ends_run = job.incremental && !job.goes_on;
    NullableDatum cursor = element(end.given.cursors, job.at);
    cursor.isnull = cursor.isnull || !(job.incremental || !job.more);
    if (!ends_run && cursor.isnull) {
        return;
    }
    NullableDatum time = {};
    time.isnull = !ends_run;
    time.value = TimestampTzGetDatum(next_run(end, job));
    NullableDatum no_jitter = {};
    no_jitter.isnull = true;
    begin_change(end.connections);
    set_column(end.connections, end.metadata,
               call_function(sync_engine_metadata_run,
                             {nullable_column(end.connections, end.metadata), time, no_jitter, cursor}));
    if (ends_run) {
        set_column(end.connections, end.last_finished, TimestampTzGetDatum(end.given.as_of));
    }
    if (!change_row(end.connections, true)) {
        report_conflict(end.connections);
    }
}

bool free_row(const End& end, const Job& job) {
    begin_change(end.states);
    set_column(end.states, end.running_job_id, 0, true);
    if (job.incremental) {
        // The tick looks again unless another job of the sort is to come, or nothing is.
        const bool looks_again = !job.goes_on && job.active && !job.again;
        set_column(end.states, end.due_at, TimestampTzGetDatum(next_run(end, job)), !looks_again);
        if (looks_again) {
            note_due(next_run(end, job));
        }
    }
    return change_row(end.states, true);
}

void free_connection(const End& end, const Job& job) {
    // A job that runs has a token: a constraint sees to it.
    const pg_uuid_t token = *DatumGetUUIDP(column_value(end.jobs, end.job.claim_token));
    const int64 connection = DatumGetInt64(column_value(end.jobs, end.job.connection_id));
    if (!find_row_near(end.states, places_in(token).state, end.state_connection, connection) ||
        free_row(end, job)) {
        return;
    }
    // Somebody who holds no connection, as _restate, had it meanwhile.
    if (!lock_row(end.states, LockTupleNoKeyExclusive, true, true) || !free_row(end, job)) {
        report_conflict(end.states);
    }
}

void put_job(const End& end, const Job& job) {
    constexpr int kOwn = 9;
    Datum values[lengthof(kEchoed) + kOwn];
    bool nulls[lengthof(kEchoed) + kOwn];
    int column = 0;
    const auto put = [&](NullableDatum value) {
        nulls[column] = value.isnull;
        values[column++] = value.value;
    };
    const auto put_value = [&](Datum value) { put({value, false}); };
    put_value(Int32GetDatum(job.at + 1));
    for (const AttrNumber echoed : end.job.echoed) {
        put(nullable_column(end.jobs, echoed));
    }
    put_value(Int32GetDatum(job.received));
    put_value(Int32GetDatum(job.inserted));
    put(element(end.given.cursors, job.at));
    put_value(BoolGetDatum(job.more));
    put(element(end.given.stats, job.at));
    put(element(end.given.errors, job.at));
    put_value(BoolGetDatum(job.goes_on));
    put_value(BoolGetDatum(job.active));
    tuplestore_putvalues(end.result.store, end.result.descriptor, values, nulls);
}

// The connection of the job in end->jobs: at its place, unless a trigger on what was landed has written it
// since.
bool find_connection(const End& end, int at) {
    return fetch_row(end.connections, place_of(end.given.connections, at)) ||
           find_row(end.connections, F_INT8EQ, column_value(end.jobs, end.job.connection_id));
}

void end_job(End* end, int at) {
    if (!fetch_row(end->jobs, place_of(end->given.jobs, at)) || !find_connection(*end, at)) {
        report_conflict(end->jobs);
    }
    const Job job = read_job(*end, at);
    if (job.goes_on || job.again) {
        put_job(*end, job);
    }
    add_execution(end->executions, end->jobs,
                  {job.failed, job.more, job.received, job.inserted, element(end->given.cursors, at),
                   element(end->given.stats, at), element(end->given.errors, at)});
    count_job(end, job);
    // Before it is kept, which can be in the same table.
    delete_row(end->jobs);
    keep_job(*end, job);
    move_connection(*end, job);
    free_connection(*end, job);
}

}  // namespace

SYNC_ENGINE_FUNCTION(end_jobs) {
    End end = start_end(fcinfo);
    MemoryContext row =
        AllocSetContextCreate(CurrentMemoryContext, "sync_engine job", ALLOCSET_DEFAULT_SIZES);
    for (int i = 0; i < end.given.jobs.count; ++i) {
        CHECK_FOR_INTERRUPTS();
        MemoryContext caller = MemoryContextSwitchTo(row);
        end_job(&end, i);
        MemoryContextSwitchTo(caller);
        MemoryContextReset(row);
    }
    finish_end(end);
    return 0;
}

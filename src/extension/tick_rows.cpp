// The writing half of a tick: connections that the caller has locked get their jobs, their next run and no
// due time.
#include "extension/boundary.hpp"
#include "extension/claim_hints.hpp"
#include "extension/due_hint.hpp"
#include "extension/guc.hpp"
#include "extension/job_functions.hpp"
#include "extension/policy.hpp"
#include "extension/records.hpp"
#include "extension/sql_functions.hpp"
#include "extension/tenant_lanes.hpp"

extern "C" {
#include "commands/sequence.h"
#include "executor/executor.h"
#include "rewrite/rewriteHandler.h"
#include "utils/fmgroids.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
}

using namespace sync_engine;

namespace {

constexpr char kJobType[] = "incremental";
constexpr char kLiveJobs[] = "idx_sync_jobs_connection_type_status";
constexpr char kJobIds[] = "sync_jobs_id_seq";

struct Provider {
    Provider* next;
    text* slug;
    bool active;
};

// What the table gives to columns of a new job that the tick does not name.
struct Default {
    AttrNumber column;
    ExprState* value;
};

struct NewJobColumns {
    AttrNumber id, tenant_id, provider_slug, connection_id, job_type, scheduled_at, run_id, created_at,
        own_lane;
};

struct ConnectionColumns {
    AttrNumber id, tenant_id, provider_slug, status, metadata, last_finished, created_at, has_schedules;
};

struct Tick {
    RowTable* jobs;
    RowTable* connections;
    RowTable* states;
    RowTable* providers;
    NewJobColumns job;
    ConnectionColumns connection;
    AttrNumber due_at, parked_for, provider_status;
    Default* defaults;
    int default_count;
    Relation live_jobs;
    IndexScanDesc live_scan;
    TupleTableSlot* live_slot;
    Datum job_type;
    Oid ids;
    Provider* known;
    List* warnings;  // C strings
    MemoryContext memory;
    TimestampTz as_of;
    int32 enqueued;
    int32 skipped;
};

// The connection at hand.
struct Looked {
    Datum id;
    Provider* provider;
    bool active;
    bool ahead;  // its last run ended in the future: the clock has gone back
    NullableDatum metadata;
    TickPlan plan;
};

std::optional<TimestampUs> time_of(const NullableDatum& value) {
    return value.isnull ? std::nullopt : std::optional<TimestampUs>(DatumGetTimestampTz(value.value));
}

void find_defaults(Tick* tick) {
    const NewJobColumns& job = tick->job;
    TupleDesc descriptor = RelationGetDescr(tick->jobs->relation);
    MemoryContext caller = MemoryContextSwitchTo(tick->jobs->estate->es_query_cxt);
    tick->defaults = static_cast<Default*>(palloc(sizeof(Default) * static_cast<Size>(descriptor->natts)));
    for (AttrNumber column = 1; column <= descriptor->natts; ++column) {
        const Form_pg_attribute attribute = TupleDescAttr(descriptor, column - 1);
        if (attribute->attisdropped || column == job.id || column == job.tenant_id ||
            column == job.provider_slug || column == job.connection_id || column == job.job_type ||
            column == job.scheduled_at || column == job.run_id || column == job.created_at ||
            column == job.own_lane) {
            continue;
        }
        auto* expression = reinterpret_cast<Expr*>(build_column_default(tick->jobs->relation, column));
        if (expression != nullptr) {
            tick->defaults[tick->default_count++] = {column, ExecPrepareExpr(expression, tick->jobs->estate)};
        }
    }
    MemoryContextSwitchTo(caller);
}

void open_live_jobs(Tick* tick) {
    tick->ids = oid_of(kJobIds);
    tick->live_jobs = index_open(oid_of(kLiveJobs), AccessShareLock);
    tick->live_scan = begin_index_scan(tick->jobs->relation, tick->live_jobs, tick->jobs->snapshot, 2);
    tick->live_slot = table_slot_create(tick->jobs->relation, nullptr);
    tick->job_type = PointerGetDatum(cstring_to_text(kJobType));
}

Tick start_tick(FunctionCallInfo fcinfo) {
    static const char* const kMoved[] = {"metadata", "last_incremental_finished_at"};
    static const char* const kTaken[] = {"due_at", "parked_for"};
    Tick tick = {};
    tick.memory = CurrentMemoryContext;
    tick.as_of = PG_GETARG_TIMESTAMPTZ(2);
    tick.jobs = open_table("sync_jobs", RowExclusiveLock);
    tick.connections = open_table("connections", RowExclusiveLock, kMoved, lengthof(kMoved));
    tick.states = open_table("connection_state", RowExclusiveLock, kTaken, lengthof(kTaken));
    tick.providers = open_table("providers", AccessShareLock);
    const RowTable* jobs = tick.jobs;
    tick.job = {column_of(jobs, "id"),
                column_of(jobs, "tenant_id"),
                column_of(jobs, "provider_slug"),
                column_of(jobs, "connection_id"),
                column_of(jobs, "job_type"),
                column_of(jobs, "scheduled_at"),
                column_of(jobs, "run_id"),
                column_of(jobs, "created_at"),
                column_of(jobs, "own_lane")};
    const RowTable* connections = tick.connections;
    tick.connection = {column_of(connections, "id"),
                       column_of(connections, "tenant_id"),
                       column_of(connections, "provider_slug"),
                       column_of(connections, "status"),
                       column_of(connections, "metadata"),
                       column_of(connections, "last_incremental_finished_at"),
                       column_of(connections, "created_at"),
                       column_of(connections, "has_schedules")};
    tick.due_at = column_of(tick.states, "due_at");
    tick.parked_for = column_of(tick.states, "parked_for");
    tick.provider_status = column_of(tick.providers, "status");
    find_defaults(&tick);
    open_live_jobs(&tick);
    return tick;
}

void finish_tick(const Tick& tick) {
    index_endscan(tick.live_scan);
    index_close(tick.live_jobs, NoLock);
    ExecDropSingleTupleTableSlot(tick.live_slot);
    close_table(tick.jobs);
    close_table(tick.connections);
    close_table(tick.states);
    close_table(tick.providers);
    ListCell* cell = nullptr;
    foreach (cell, tick.warnings) {
        ereport(WARNING, (errmsg_internal("%s", static_cast<const char*>(lfirst(cell)))));
    }
}

Provider* provider_of(Tick* tick, Datum slug) {
    if (Provider* known = find_by_slug(tick->known, slug)) {
        return known;
    }
    if (!find_row(tick->providers, F_TEXTEQ, slug)) {
        elog(ERROR, "the provider of a connection is gone");
    }
    MemoryContext caller = MemoryContextSwitchTo(tick->memory);
    auto* provider = static_cast<Provider*>(palloc(sizeof(Provider)));
    *provider = {tick->known, DatumGetTextPCopy(slug),
                 text_is(column_value(tick->providers, tick->provider_status), "active")};
    MemoryContextSwitchTo(caller);
    return tick->known = provider;
}

Looked look_at_connection(Tick* tick) {
    const RowTable* row = tick->connections;
    const NullableDatum finished = nullable_column(row, tick->connection.last_finished);
    Looked looked = {};
    looked.id = column_value(row, tick->connection.id);
    looked.provider = provider_of(tick, column_value(row, tick->connection.provider_slug));
    // Whose schedules say when it runs is none of this loop's business.
    looked.active = text_is(column_value(row, tick->connection.status), "active") &&
                    !DatumGetBool(column_value(row, tick->connection.has_schedules));
    looked.ahead = !finished.isnull && DatumGetTimestampTz(finished.value) > tick->as_of;
    looked.metadata = nullable_column(row, tick->connection.metadata);
    looked.plan =
        plan_tick(looked.metadata.isnull ? nullptr : DatumGetJsonbP(looked.metadata.value), time_of(finished),
                  time_of(nullable_column(row, tick->connection.created_at)), tick->as_of);
    return looked;
}

bool has_live_job(const Tick& tick, Datum connection) {
    ScanKeyData keys[2];
    ScanKeyEntryInitialize(&keys[0], 0, 1, BTEqualStrategyNumber, InvalidOid, InvalidOid, F_INT8EQ,
                           connection);
    ScanKeyEntryInitialize(&keys[1], 0, 2, BTEqualStrategyNumber, InvalidOid,
                           tick.live_jobs->rd_indcollation[1], F_TEXTEQ, tick.job_type);
    // The index keeps a list of dead entries as long as the scan lives.
    MemoryContext caller = MemoryContextSwitchTo(tick.memory);
    index_rescan(tick.live_scan, keys, 2, nullptr, 0);
    const bool found = index_getnext_slot(tick.live_scan, ForwardScanDirection, tick.live_slot);
    MemoryContextSwitchTo(caller);
    return found;
}

// False where the row was changed by this tick before: it was given twice.
bool change_state(const Tick& tick, const Looked& looked) {
    const bool waits =
        looked.active && looked.provider->active && looked.plan.run.verdict == Verdict::not_yet;
    const TimestampTz due = looked.plan.run.next_run_at.value_or(0);
    begin_change(tick.states);
    set_column(tick.states, tick.due_at, TimestampTzGetDatum(due), !waits);
    set_column(tick.states, tick.parked_for, PointerGetDatum(looked.provider->slug),
               !looked.active || looked.provider->active);
    if (waits) {
        note_due(due);
    }
    return change_row(tick.states, true);
}

void count_job(const Tick& tick, const Looked& looked) {
    const int32 jitter = looked.plan.jitter_seconds;
    const RunPlan& run = looked.plan.run;
    count_metric("sync_scheduler_jitter_seconds", nullptr, jitter);
    const text* tenant = DatumGetTextPP(column_value(tick.connections, tick.connection.tenant_id));
    const int length =
        pg_mbcliplen(VARDATA_ANY(tenant), static_cast<int>(VARSIZE_ANY_EXHDR(tenant)), kMetricLabelSize - 1);
    count_metric("sync_scheduler_jobs_scheduled_total", looked.provider->slug, 1,
                 pnstrdup(VARDATA_ANY(tenant), static_cast<Size>(length)));
    if (message_level_is_interesting(DEBUG1)) {
        call_function(sync_engine_trace_scheduled,
                      {{looked.id, false},
                       {Int32GetDatum(jitter), false},
                       {Int32GetDatum(looked.plan.interval.base_seconds), false},
                       {TimestampTzGetDatum(run.slot.value_or(0)), !run.slot},
                       {TimestampTzGetDatum(run.scheduled_at.value_or(0)), !run.scheduled_at},
                       {TimestampTzGetDatum(run.next_run_at.value_or(0)), !run.next_run_at}});
    }
}

void add_job(Tick* tick, const Looked& looked) {
    TupleTableSlot* row = new_row(tick->jobs);
    memset(row->tts_isnull, true, sizeof(bool) * static_cast<Size>(row->tts_tupleDescriptor->natts));
    const auto set = [row](AttrNumber column, Datum value) {
        row->tts_values[column - 1] = value;
        row->tts_isnull[column - 1] = false;
    };
    ExprContext* context = GetPerTupleExprContext(tick->jobs->estate);
    for (int i = 0; i < tick->default_count; ++i) {
        const int at = tick->defaults[i].column - 1;
        row->tts_values[at] = ExecEvalExpr(tick->defaults[i].value, context, &row->tts_isnull[at]);
    }
    const TimestampTz scheduled_at = *looked.plan.run.scheduled_at;
    const Datum id = Int64GetDatum(nextval_internal(tick->ids, false));
    set(tick->job.id, id);
    const Datum tenant = column_value(tick->connections, tick->connection.tenant_id);
    const bool own_lane = has_own_lane(DatumGetTextPP(tenant));
    set(tick->job.tenant_id, tenant);
    set(tick->job.own_lane, BoolGetDatum(own_lane));
    set(tick->job.provider_slug, PointerGetDatum(looked.provider->slug));
    set(tick->job.connection_id, looked.id);
    set(tick->job.job_type, tick->job_type);
    set(tick->job.scheduled_at, TimestampTzGetDatum(scheduled_at));
    set(tick->job.run_id, id);
    set(tick->job.created_at, TimestampTzGetDatum(tick->as_of));
    add_row(tick->jobs, row);
    if (!own_lane) {
        note_queued(looked.provider->slug, 0, scheduled_at);
    }
    note_job(tenant, looked.id, id);
    count_job(*tick, looked);
}

void warn_of_override(Tick* tick, const Looked& looked) {
    Datum value = DirectFunctionCall1(jsonb_out, interval_override(DatumGetJsonbP(looked.metadata.value)));
    value = DirectFunctionCall2(text_left, PointerGetDatum(cstring_to_text(DatumGetCString(value))),
                                Int32GetDatum(60));
    MemoryContext caller = MemoryContextSwitchTo(tick->memory);
    tick->warnings = lappend(
        tick->warnings,
        psprintf("connection " INT64_FORMAT ": interval_seconds %s is not an integer from 60 to %d, using %d",
                 DatumGetInt64(looked.id), TextDatumGetCString(value), guc::max_overridden_interval_seconds,
                 guc::default_interval_seconds));
    MemoryContextSwitchTo(caller);
}

// Metadata with an override that counts: the default in its place, or none where that is no override that one
// may set.
Datum mended(Datum metadata) {
    if (guc::default_interval_seconds > guc::max_overridden_interval_seconds) {
        Datum path[] = {PointerGetDatum(cstring_to_text("sync")),
                        PointerGetDatum(cstring_to_text("interval_seconds"))};
        return DirectFunctionCall2(
            jsonb_delete_path, metadata,
            PointerGetDatum(construct_array(path, 2, TEXTOID, -1, false, TYPALIGN_INT)));
    }
    const char* patch = psprintf("{\"interval_seconds\": %d}", guc::default_interval_seconds);
    return call_function(sync_engine_metadata_with,
                         {{metadata, false}, {DirectFunctionCall1(jsonb_in, CStringGetDatum(patch)), false}});
}

void change_connection(Tick* tick, const Looked& looked, bool enqueued) {
    const std::optional<TimestampUs>& next_run = looked.plan.run.next_run_at;
    NullableDatum metadata = looked.metadata;
    if (!looked.plan.interval.valid) {
        warn_of_override(tick, looked);
        metadata.value = mended(metadata.value);
    }
    begin_change(tick->connections);
    set_column(
        tick->connections, tick->connection.metadata,
        call_function(sync_engine_metadata_run,
                      {metadata,
                       {TimestampTzGetDatum(next_run.value_or(0)), !next_run || !(enqueued || looked.ahead)},
                       {Int32GetDatum(looked.plan.jitter_seconds), !enqueued},
                       {0, true}}));
    if (looked.ahead) {
        set_column(tick->connections, tick->connection.last_finished, TimestampTzGetDatum(tick->as_of));
    }
    if (!change_row(tick->connections, true)) {
        report_conflict(tick->connections);
    }
}

void tick_row(Tick* tick, ItemPointer state, ItemPointer connection) {
    if (!fetch_row(tick->states, state) || !fetch_row(tick->connections, connection)) {
        report_conflict(tick->connections);
    }
    const Looked looked = look_at_connection(tick);
    if (!change_state(*tick, looked)) {
        return;
    }
    const bool wanted =
        looked.active && looked.provider->active && looked.plan.run.verdict != Verdict::not_yet;
    const bool enqueued = wanted && !has_live_job(*tick, looked.id);
    if (enqueued) {
        add_job(tick, looked);
    }
    if (enqueued || !looked.plan.interval.valid || looked.ahead) {
        change_connection(tick, looked, enqueued);
    }
    tick->enqueued += enqueued ? 1 : 0;
    tick->skipped += wanted && !enqueued ? 1 : 0;
}

}  // namespace

SYNC_ENGINE_FUNCTION(tick_rows) {
    const Elements states = elements_of(fcinfo, 0);
    const Elements connections = elements_of(fcinfo, 1);
    Tick tick = start_tick(fcinfo);
    MemoryContext row =
        AllocSetContextCreate(CurrentMemoryContext, "sync_engine tick row", ALLOCSET_DEFAULT_SIZES);
    for (int i = 0; i < states.count; ++i) {
        CHECK_FOR_INTERRUPTS();
        MemoryContext caller = MemoryContextSwitchTo(row);
        tick_row(&tick, place_of(states, i), place_of(connections, i));
        MemoryContextSwitchTo(caller);
        MemoryContextReset(row);
    }
    finish_tick(tick);
    Datum values[] = {Int32GetDatum(tick.enqueued), Int32GetDatum(tick.skipped)};
    bool nulls[] = {false, false};
    PG_RETURN_DATUM(make_record(fcinfo, values, nulls));
}

// The writing half of a claim: candidates become running jobs, each with the lease of its connection. Never
// waits.
#include "extension/boundary.hpp"
#include "extension/claim_hints.hpp"
#include "extension/claim_token.hpp"
#include "extension/execution_rows.hpp"
#include "extension/job_cursor.hpp"
#include "extension/json_values.hpp"
#include "extension/records.hpp"
#include "extension/sql_functions.hpp"

extern "C" {
#include "access/xact.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"
}

using namespace sync_engine;

namespace {

struct JobColumns {
    AttrNumber id, tenant_id, connection_id, provider_slug, job_type, status, priority, attempts,
        scheduled_at, retry_after, started_at, cursor, input, claimed_by, claimed_at, claim_token, own_lane;
};

// A provider as this call has met it.
struct Provider {
    Provider* next;
    text* slug;
    bool active;
    Datum connector;
    NullableDatum config;
    NullableDatum hosts;
    Datum plain_config;  // of a connection that has none of its own; 0: not made yet
    double taken;
};

struct Claim {
    RowTable* jobs;
    RowTable* states;
    RowTable* connections;
    RowTable* providers;
    JobColumns job;
    AttrNumber running_job_id, held_until;
    AttrNumber connection_status, connection_config, metadata;
    AttrNumber provider_status, connector, provider_config, hosts;
    Provider* known;
    MemoryContext memory;
    Datum executor;
    TimestampTz as_of;
    ResultSet result;
};

NullableDatum copy_of(NullableDatum value) {
    if (!value.isnull) {
        value.value = PointerGetDatum(PG_DETOAST_DATUM_COPY(value.value));
    }
    return value;
}

Claim start_claim(FunctionCallInfo fcinfo) {
    static const char* const kTaken[] = {"status",     "claimed_by",  "claimed_at",
                                         "started_at", "claim_token", "retry_after"};
    static const char* const kLeased[] = {"running_job_id"};
    Claim claim = {};
    claim.memory = CurrentMemoryContext;
    claim.executor = PG_GETARG_DATUM(2);
    claim.as_of = PG_GETARG_TIMESTAMPTZ(3);
    claim.jobs = open_table("sync_jobs", RowExclusiveLock, kTaken, lengthof(kTaken));
    claim.states = open_table("connection_state", RowExclusiveLock, kLeased, lengthof(kLeased));
    claim.connections = open_table("connections", AccessShareLock);
    claim.providers = open_table("providers", AccessShareLock);
    const RowTable* jobs = claim.jobs;
    claim.job = {column_of(jobs, "id"),
                 column_of(jobs, "tenant_id"),
                 column_of(jobs, "connection_id"),
                 column_of(jobs, "provider_slug"),
                 column_of(jobs, "job_type"),
                 column_of(jobs, "status"),
                 column_of(jobs, "priority"),
                 column_of(jobs, "attempts"),
                 column_of(jobs, "scheduled_at"),
                 column_of(jobs, "retry_after"),
                 column_of(jobs, "started_at"),
                 column_of(jobs, "cursor"),
                 column_of(jobs, "input"),
                 column_of(jobs, "claimed_by"),
                 column_of(jobs, "claimed_at"),
                 column_of(jobs, "claim_token"),
                 column_of(jobs, "own_lane")};
    claim.running_job_id = column_of(claim.states, "running_job_id");
    claim.held_until = column_of(claim.states, "held_until");
    claim.connection_status = column_of(claim.connections, "status");
    claim.connection_config = column_of(claim.connections, "config");
    claim.metadata = column_of(claim.connections, "metadata");
    claim.provider_status = column_of(claim.providers, "status");
    claim.connector = column_of(claim.providers, "connector");
    claim.provider_config = column_of(claim.providers, "config");
    claim.hosts = column_of(claim.providers, "allowed_hosts");
    claim.result = begin_result_set(fcinfo);
    return claim;
}

void finish_claim(const Claim& claim) {
    for (const Provider* provider = claim.known; provider != nullptr; provider = provider->next) {
        if (provider->taken > 0) {
            count_metric("sync_jobs_claimed_total", provider->slug, provider->taken);
        }
    }
    close_table(claim.jobs);
    close_table(claim.states);
    close_table(claim.connections);
    close_table(claim.providers);
}

// Null where there is none.
Provider* provider_of(Claim* claim, Datum slug) {
    if (Provider* known = find_by_slug(claim->known, slug)) {
        return known;
    }
    MemoryContext caller = MemoryContextSwitchTo(claim->memory);
    Provider* provider = nullptr;
    if (find_row(claim->providers, F_TEXTEQ, slug)) {
        provider = static_cast<Provider*>(palloc0(sizeof(Provider)));
        provider->slug = DatumGetTextPCopy(slug);
        provider->active = text_is(column_value(claim->providers, claim->provider_status), "active");
        provider->connector = copy_of(nullable_column(claim->providers, claim->connector)).value;
        provider->config = copy_of(nullable_column(claim->providers, claim->provider_config));
        provider->hosts = copy_of(nullable_column(claim->providers, claim->hosts));
        provider->next = claim->known;
        claim->known = provider;
    }
    MemoryContextSwitchTo(caller);
    return provider;
}

bool is_empty_object(const NullableDatum& json) {
    if (json.isnull) {
        return true;
    }
    Jsonb* object = DatumGetJsonbP(json.value);
    return JB_ROOT_IS_OBJECT(object) && JB_ROOT_COUNT(object) == 0;
}

Datum config_of(Claim* claim, Provider* provider) {
    const NullableDatum own = nullable_column(claim->connections, claim->connection_config);
    const bool plain = is_empty_object(own);
    if (plain && provider->plain_config != 0) {
        return provider->plain_config;
    }
    MemoryContext caller = plain ? MemoryContextSwitchTo(claim->memory) : CurrentMemoryContext;
    const Datum merged = call_function(sync_engine_merge_config, {provider->config, own, provider->hosts});
    if (plain) {
        provider->plain_config = merged;
    }
    MemoryContextSwitchTo(caller);
    return merged;
}

// When the job in claim.jobs may be claimed.
TimestampTz due_of(const Claim& claim) {
    const NullableDatum scheduled = nullable_column(claim.jobs, claim.job.scheduled_at);
    const NullableDatum retry = nullable_column(claim.jobs, claim.job.retry_after);
    const TimestampTz due = DatumGetTimestampTz(scheduled.value);
    return retry.isnull ? due : Max(due, DatumGetTimestampTz(retry.value));
}

// Whether the connection's state has no running job, as far as table->row shows it.
bool is_free(const Claim& claim) {
    return nullable_column(claim.states, claim.running_job_id).isnull;
}

void note(const Claim& claim) {
    note_job(column_value(claim.jobs, claim.job.tenant_id), column_value(claim.jobs, claim.job.connection_id),
             column_value(claim.jobs, claim.job.id));
}

bool lease_row(const Claim& claim, Datum job_id, bool locked) {
    begin_change(claim.states);
    set_column(claim.states, claim.running_job_id, job_id);
    return change_row(claim.states, locked);
}

// False where another session has or had the row: whoever frees a connection wakes executors.
bool take_lease(const Claim& claim, Datum job_id) {
    if (lease_row(claim, job_id, false)) {
        return true;
    }
    // Its newest version may be free, and a lock of this transaction, or one that only guards the key, stands
    // in nobody's way.
    return lock_row(claim.states, LockTupleNoKeyExclusive, false, !IsolationUsesXactSnapshot()) &&
           is_free(claim) && lease_row(claim, job_id, true);
}

HeapTuple describe_job(Claim* claim, Provider* provider, Datum token) {
    const NullableDatum cursor =
        job_cursor(nullable_column(claim->jobs, claim->job.cursor),
                   text_is(column_value(claim->jobs, claim->job.job_type), "incremental"),
                   nullable_column(claim->connections, claim->metadata));
    const NullableDatum input = nullable_column(claim->jobs, claim->job.input);
    Datum values[] = {column_value(claim->jobs, claim->job.id),
                      token,
                      column_value(claim->jobs, claim->job.tenant_id),
                      column_value(claim->jobs, claim->job.connection_id),
                      PointerGetDatum(provider->slug),
                      column_value(claim->jobs, claim->job.job_type),
                      column_value(claim->jobs, claim->job.priority),
                      column_value(claim->jobs, claim->job.attempts),
                      cursor.value,
                      input.value,
                      provider->connector,
                      config_of(claim, provider)};
    bool nulls[lengthof(values)] = {};
    nulls[8] = cursor.isnull;
    nulls[9] = input.isnull;
    MemoryContext caller = MemoryContextSwitchTo(claim->memory);
    HeapTuple told = heap_form_tuple(claim->result.descriptor, values, nulls);
    MemoryContextSwitchTo(caller);
    return told;
}

bool mark_running(const Claim& claim, Datum token, bool locked) {
    const JobColumns& job = claim.job;
    const Datum now = TimestampTzGetDatum(claim.as_of);
    begin_change(claim.jobs);
    set_column(claim.jobs, job.status, PointerGetDatum(cstring_to_text("running")));
    set_column(claim.jobs, job.claimed_by, claim.executor);
    set_column(claim.jobs, job.claimed_at, now);
    if (nullable_column(claim.jobs, job.started_at).isnull) {
        set_column(claim.jobs, job.started_at, now);
    }
    set_column(claim.jobs, job.claim_token, token);
    set_column(claim.jobs, job.retry_after, 0, true);
    return change_row(claim.jobs, locked);
}

// Whether the remote has told the connection whose state was read to keep still. Then the job in claim->jobs
// is set to the end of that, so that no claim meets it again before.
bool put_off(const Claim& claim, const Provider& provider) {
    const NullableDatum until = nullable_column(claim.states, claim.held_until);
    if (until.isnull || DatumGetTimestampTz(until.value) <= claim.as_of) {
        return false;
    }
    begin_change(claim.jobs);
    set_column(claim.jobs, claim.job.retry_after, until.value);
    if (!change_row(claim.jobs, false)) {
        return true;
    }
    note(claim);
    if (!DatumGetBool(column_value(claim.jobs, claim.job.own_lane))) {
        note_queued(provider.slug, DatumGetInt32(column_value(claim.jobs, claim.job.priority)),
                    DatumGetTimestampTz(until.value));
    }
    return true;
}

// The lease that was just taken.
void give_back(const Claim& claim) {
    CommandCounterIncrement();
    claim.states->row->tts_tid = claim.states->changed->tts_tid;
    set_column(claim.states, claim.running_job_id, 0, true);
    if (!change_row(claim.states, true)) {
        report_conflict(claim.states);
    }
}

// Takes the job in claim->jobs if it is still there to be had: what the claimer is told of it, else null.
HeapTuple take_job(Claim* claim) {
    const TimestampTz due = due_of(*claim);
    if (!text_is(column_value(claim->jobs, claim->job.status), "queued") || due > claim->as_of ||
        is_taken(claim->jobs)) {
        return nullptr;
    }
    const Datum connection = column_value(claim->jobs, claim->job.connection_id);
    Provider* provider = provider_of(claim, column_value(claim->jobs, claim->job.provider_slug));
    if (provider == nullptr || !provider->active || !find_row(claim->connections, F_INT8EQ, connection) ||
        !text_is(column_value(claim->connections, claim->connection_status), "active") ||
        !find_row(claim->states, F_INT8EQ, connection) || !is_free(*claim) || put_off(*claim, *provider)) {
        return nullptr;
    }
    if (!take_lease(*claim, column_value(claim->jobs, claim->job.id))) {
        return nullptr;
    }
    pg_uuid_t token = make_claim_token({claim->connections->row->tts_tid, claim->states->changed->tts_tid});
    const Datum token_datum = UUIDPGetDatum(&token);
    if (!mark_running(*claim, token_datum, false) &&
        !(lock_row(claim->jobs, LockTupleNoKeyExclusive, false, false) &&
          mark_running(*claim, token_datum, true))) {
        give_back(*claim);
        return nullptr;
    }
    note(*claim);
    provider->taken += 1;
    const double lag =
        TIMESTAMP_NOT_FINITE(due) ? 0.0 : static_cast<double>(claim->as_of - due) / USECS_PER_SEC;
    count_metric("sync_queue_lag_seconds", nullptr, lag);
    return describe_job(claim, provider, token_datum);
}

struct Candidate {
    int64 connection;
    int position;
};

int compare_candidates(const void* a, const void* b) {
    const auto* x = static_cast<const Candidate*>(a);
    const auto* y = static_cast<const Candidate*>(b);
    if (x->connection != y->connection) {
        return x->connection < y->connection ? -1 : 1;
    }
    return x->position - y->position;
}

// In the order of their connections, in which rows and index entries lie near each other; of one connection's
// in claim order.
Candidate* ordered_candidates(const Elements& connections) {
    auto* candidates =
        static_cast<Candidate*>(palloc(sizeof(Candidate) * (static_cast<Size>(connections.count) + 1)));
    for (int i = 0; i < connections.count; ++i) {
        candidates[i] = {DatumGetInt64(connections.values[i]), i};
    }
    qsort(candidates, static_cast<Size>(connections.count), sizeof(Candidate), compare_candidates);
    return candidates;
}

}  // namespace

SYNC_ENGINE_FUNCTION(take_jobs) {
    const Elements places = elements_of(fcinfo, 0);
    Claim claim = start_claim(fcinfo);
    const Elements connections = elements_of(fcinfo, 1);
    if (connections.count != places.count) {
        elog(ERROR, "%d places of jobs, but %d connections", places.count, connections.count);
    }
    const Candidate* candidates = ordered_candidates(connections);
    auto* taken = static_cast<HeapTuple*>(palloc0(sizeof(HeapTuple) * (static_cast<Size>(places.count) + 1)));
    for (int i = 0; i < places.count; ++i) {
        CHECK_FOR_INTERRUPTS();
        // A job that has moved since was changed by somebody, and is passed by like one that is locked.
        if (fetch_row(claim.jobs, place_of(places, candidates[i].position))) {
            MemoryContext caller = MemoryContextSwitchTo(row_memory(claim.jobs));
            taken[candidates[i].position] = take_job(&claim);
            MemoryContextSwitchTo(caller);
            MemoryContextReset(row_memory(claim.jobs));
        }
    }
    for (int i = 0; i < places.count; ++i) {
        if (taken[i] != nullptr) {
            tuplestore_puttuple(claim.result.store, taken[i]);
        }
    }
    finish_claim(claim);
    return 0;
}

SYNC_ENGINE_FUNCTION(rows_are_plain) {
    // A claim must not wait for housekeeping, which turns the view to another table.
    const bool ends_jobs = PG_GETARG_BOOL(0);
    PG_RETURN_BOOL(is_plain_table("sync_jobs", ends_jobs) && is_plain_table("connection_state", false) &&
                   is_plain_table("connections", false) &&
                   (!ends_jobs || (is_plain_behind_view("_finished_jobs") &&
                                   is_local_history("sync_executions", kExecutionColumns))));
}

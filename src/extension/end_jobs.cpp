// The writing half of complete_jobs: of jobs that the caller has locked, and, where nothing but their ends
// has to be written, of jobs as they come.
#include "extension/boundary.hpp"
#include "extension/claim_token.hpp"
#include "extension/end_job.hpp"
#include "extension/json_values.hpp"
#include "extension/records.hpp"
#include "extension/result_element.hpp"
#include "extension/sql_functions.hpp"

extern "C" {
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
constexpr const char* kEchoedLast[] = {"schedule_id", "planned_at", "trigger_type"};

struct Arguments {
    Elements jobs, connections, received, inserted, cursors, more, stats, errors;
};

struct Call {
    End end;
    Arguments arguments;
    AttrNumber echoed[lengthof(kEchoed)];
    AttrNumber echoed_last[lengthof(kEchoedLast)];
    ResultSet result;
};

Arguments arguments_of(FunctionCallInfo fcinfo) {
    return {elements_of(fcinfo, 0), elements_of(fcinfo, 1), elements_of(fcinfo, 2), elements_of(fcinfo, 3),
            elements_of(fcinfo, 4), elements_of(fcinfo, 5), elements_of(fcinfo, 6), elements_of(fcinfo, 7)};
}

int32 int_element(const Elements& elements, int i) {
    return elements.is_null(i) ? 0 : DatumGetInt32(elements.values[i]);
}

NullableDatum element(const Elements& elements, int i) {
    NullableDatum value = {};
    value.isnull = elements.is_null(i);
    value.value = value.isnull ? 0 : elements.values[i];
    return value;
}

Given given_of(const Arguments& arguments, int at) {
    return {int_element(arguments.received, at),
            int_element(arguments.inserted, at),
            !arguments.more.is_null(at) && DatumGetBool(arguments.more.values[at]),
            element(arguments.cursors, at),
            element(arguments.stats, at),
            element(arguments.errors, at)};
}

void put_job(const Call& call, int at, const Given& given, const Ending& job) {
    constexpr int kOwn = 10;
    Datum values[lengthof(kEchoed) + lengthof(kEchoedLast) + kOwn];
    bool nulls[lengthof(kEchoed) + lengthof(kEchoedLast) + kOwn];
    int column = 0;
    const auto put = [&](NullableDatum value) {
        nulls[column] = value.isnull;
        values[column++] = value.value;
    };
    const auto put_value = [&](Datum value) { put({value, false}); };
    put_value(Int32GetDatum(at + 1));
    for (const AttrNumber echoed : call.echoed) {
        put(nullable_column(call.end.jobs, echoed));
    }
    put_value(Int32GetDatum(job.received));
    put_value(Int32GetDatum(job.inserted));
    put(given.cursor);
    put_value(BoolGetDatum(given.more));
    put(given.stats);
    put(given.error);
    put_value(BoolGetDatum(job.goes_on));
    put_value(BoolGetDatum(job.active));
    for (const AttrNumber echoed : call.echoed_last) {
        put(nullable_column(call.end.jobs, echoed));
    }
    put({0, true});  // nothing is left to be recorded by the caller
    tuplestore_putvalues(call.result.store, call.result.descriptor, values, nulls);
}

// The connection of the job in end->jobs: at its place, unless a trigger on what was landed has written it
// since.
bool find_connection(const Call& call, int at) {
    return fetch_row(call.end.connections, place_of(call.arguments.connections, at)) ||
           find_row(call.end.connections, F_INT8EQ, column_value(call.end.jobs, call.end.job.connection_id));
}

// Jobs are ended in the order of their connections' places: rows and index entries that lie near each other
// are written one after the other.
struct Placed {
    ItemPointerData connection;
    int position;
};

int compare_places(const void* a, const void* b) {
    const auto* x = static_cast<const Placed*>(a);
    const auto* y = static_cast<const Placed*>(b);
    const int32 order =
        ItemPointerCompare(const_cast<ItemPointer>(&x->connection), const_cast<ItemPointer>(&y->connection));
    return order != 0 ? order : x->position - y->position;
}

void end_locked(Call* call, int at) {
    if (!fetch_row(call->end.jobs, place_of(call->arguments.jobs, at)) || !find_connection(*call, at)) {
        report_conflict(call->end.jobs);
    }
    const Given given = given_of(call->arguments, at);
    const Ending job = read_ending(call->end, given);
    if (job.goes_on || job.again) {
        put_job(*call, at, given, job);
    }
    write_ending(&call->end, given, job);
}

// A result that says no more than that the job has ended, and with which cursor.
struct Bare {
    int64 id;
    pg_uuid_t token;
    JsonbValue* cursor;
    JsonbValue* stats;
};

bool is_empty_array(const JsonbValue& value) {
    return value.type == jbvBinary && JsonContainerIsArray(value.val.binary.data) &&
           JsonContainerSize(value.val.binary.data) == 0;
}

bool read_bare(const JsonbValue& element, Bare* bare) {
    if (element.type != jbvBinary || !JsonContainerIsObject(element.val.binary.data)) {
        return false;
    }
    JsonbContainer* object = element.val.binary.data;
    const JsonbValue* signals = find(object, "signals");
    const JsonbValue* more = find(object, "has_more");
    bare->cursor = find(object, "next_cursor");
    bare->stats = find(object, "stats");
    return read_id(find(object, "job_id"), &bare->id) &&
           read_uuid(find(object, "claim_token"), &bare->token) &&
           getKeyJsonValueFromContainer(object, "error", 5, nullptr) == nullptr &&
           (signals == nullptr || is_empty_array(*signals)) &&
           (more == nullptr || (more->type == jbvBool && !more->val.boolean)) &&
           (bare->stats == nullptr || strcmp(type_name(*bare->stats), "object") == 0);
}

NullableDatum json_datum(JsonbValue* value) {
    NullableDatum datum = {};
    datum.isnull = value == nullptr;
    datum.value = datum.isnull ? 0 : JsonbPGetDatum(JsonbValueToJsonb(value));
    return datum;
}

// The elements of the array, as long as they are bare: else fewer than there are.
int read_all_bare(Jsonb* results, Bare* all) {
    JsonbIterator* it = JsonbIteratorInit(&results->root);
    JsonbValue element;
    JsonbIteratorToken token;
    int count = 0;
    while ((token = JsonbIteratorNext(&it, &element, true)) != WJB_DONE) {
        if (token == WJB_ELEM) {
            CHECK_FOR_INTERRUPTS();
            if (!read_bare(element, &all[count])) {
                return count;
            }
            ++count;
        }
    }
    return count;
}

// Whether the job still runs under the token; then it is in end.jobs, its connection in end.connections.
bool find_bare(const End& end, const Bare& bare) {
    if (!find_row(end.jobs, F_INT8EQ, Int64GetDatum(bare.id))) {
        return false;
    }
    const NullableDatum held = nullable_column(end.jobs, end.job.claim_token);
    return text_is(column_value(end.jobs, end.job.status), "running") && !held.isnull &&
           memcmp(DatumGetUUIDP(held.value), &bare.token, sizeof bare.token) == 0 &&
           find_row_near(end.connections, places_in(bare.token).connection, end.of_connection,
                         DatumGetInt64(column_value(end.jobs, end.job.connection_id)));
}

void end_bare_job(End* end, const Bare& bare) {
    const Given given = {0, 0, false, json_datum(bare.cursor), json_datum(bare.stats), {0, true}};
    const Ending job = read_ending(*end, given);
    if (job.again) {
        report_conflict(end->jobs);
    }
    write_ending(end, given, job);
}

}  // namespace

SYNC_ENGINE_FUNCTION(end_jobs) {
    Call call = {
        start_end(PG_GETARG_TIMESTAMPTZ(8), true), arguments_of(fcinfo), {}, {}, begin_result_set(fcinfo)};
    for (std::size_t i = 0; i < lengthof(kEchoed); ++i) {
        call.echoed[i] = column_of(call.end.jobs, kEchoed[i]);
    }
    for (std::size_t i = 0; i < lengthof(kEchoedLast); ++i) {
        call.echoed_last[i] = column_of(call.end.jobs, kEchoedLast[i]);
    }
    MemoryContext row =
        AllocSetContextCreate(CurrentMemoryContext, "sync_engine job", ALLOCSET_DEFAULT_SIZES);
    const int count = call.arguments.jobs.count;
    auto* order = static_cast<Placed*>(palloc(sizeof(Placed) * (static_cast<Size>(count) + 1)));
    for (int i = 0; i < count; ++i) {
        order[i] = {*place_of(call.arguments.connections, i), i};
    }
    qsort(order, static_cast<Size>(count), sizeof(Placed), compare_places);
    for (int i = 0; i < count; ++i) {
        CHECK_FOR_INTERRUPTS();
        MemoryContext caller = MemoryContextSwitchTo(row);
        end_locked(&call, order[i].position);
        MemoryContextSwitchTo(caller);
        MemoryContextReset(row);
    }
    finish_end(call.end);
    return 0;
}

SYNC_ENGINE_FUNCTION(end_bare_jobs) {
    constexpr int kColumns = 2;
    Jsonb* results = PG_GETARG_JSONB_P(0);
    Datum values[kColumns] = {};
    bool nulls[kColumns] = {true, true};
    const auto most = JB_ROOT_IS_ARRAY(results) ? static_cast<Size>(JB_ROOT_COUNT(results)) : 0;
    auto* bare = static_cast<Bare*>(palloc0((most + 1) * sizeof(Bare)));
    const int count = most > 0 ? read_all_bare(results, bare) : 0;
    // Whether they may be written by place is asked last: the locks that it takes go with the transaction, or
    // with the caller's block where that is undone.
    if (count > 0 && static_cast<Size>(count) == most &&
        DatumGetBool(DirectFunctionCall1(sync_engine_rows_are_plain, BoolGetDatum(true)))) {
        auto* ids = static_cast<Datum*>(palloc(most * sizeof(Datum)));
        auto* connections = static_cast<Datum*>(palloc(most * sizeof(Datum)));
        auto* order = static_cast<Placed*>(palloc(most * sizeof(Placed)));
        for (int i = 0; i < count; ++i) {
            ids[i] = Int64GetDatum(bare[i].id);
            order[i] = {places_in(bare[i].token).connection, i};
        }
        qsort(order, most, sizeof(Placed), compare_places);
        End end = start_end(PG_GETARG_TIMESTAMPTZ(1), false);
        MemoryContext row =
            AllocSetContextCreate(CurrentMemoryContext, "sync_engine job", ALLOCSET_DEFAULT_SIZES);
        for (int i = 0; i < count; ++i) {
            CHECK_FOR_INTERRUPTS();
            MemoryContext caller = MemoryContextSwitchTo(row);
            const Bare& job = bare[order[i].position];
            if (!find_bare(end, job)) {
                report_conflict(end.jobs);
            }
            connections[i] = column_value(end.jobs, end.job.connection_id);
            end_bare_job(&end, job);
            MemoryContextSwitchTo(caller);
            MemoryContextReset(row);
        }
        finish_end(end);
        values[0] = array_of(ids, count, INT8OID);
        values[1] = array_of(connections, count, INT8OID);
        nulls[0] = nulls[1] = false;
    }
    PG_RETURN_DATUM(make_record(fcinfo, values, nulls));
}

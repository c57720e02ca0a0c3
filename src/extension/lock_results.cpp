// Locks what results are about: the connections and jobs that run under the given tokens.
#include "extension/boundary.hpp"
#include "extension/claim_token.hpp"
#include "extension/job_functions.hpp"
#include "extension/records.hpp"

extern "C" {
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/uuid.h"
}

using namespace sync_engine;

namespace {

// A job that the snapshot shows running under the token that came with it.
struct Running {
    int at;
    int64 id;
    int64 connection;
    pg_uuid_t token;
    ItemPointerData place;
    ItemPointerData connection_place;
    bool locked;
};

struct Columns {
    AttrNumber connection_id, status, claim_token;
    AttrNumber of_connection;  // its id, in connections
};

// Whoever waits locks connections first, then jobs, both in id order.
int compare_for_locking(const void* a, const void* b) {
    const auto* x = static_cast<const Running*>(a);
    const auto* y = static_cast<const Running*>(b);
    if (x->connection != y->connection) {
        return x->connection < y->connection ? -1 : 1;
    }
    if (x->id != y->id) {
        return x->id < y->id ? -1 : 1;
    }
    return x->at - y->at;
}

int compare_positions(const void* a, const void* b) {
    return static_cast<const Running*>(a)->at - static_cast<const Running*>(b)->at;
}

bool runs_under(const RowTable* jobs, const Columns& columns, const pg_uuid_t& token) {
    const NullableDatum held = nullable_column(jobs, columns.claim_token);
    return text_is(column_value(jobs, columns.status), "running") && !held.isnull &&
           memcmp(DatumGetUUIDP(held.value), &token, sizeof token) == 0;
}

int find_running(RowTable* jobs, const Columns& columns, const Elements& ids, const Elements& tokens,
                 Running* found) {
    int count = 0;
    for (int i = 0; i < ids.count; ++i) {
        CHECK_FOR_INTERRUPTS();
        if (ids.is_null(i) || tokens.is_null(i) || !find_row(jobs, F_INT8EQ, ids.values[i])) {
            continue;
        }
        const pg_uuid_t token = *DatumGetUUIDP(tokens.values[i]);
        if (runs_under(jobs, columns, token)) {
            found[count++] = {
                i,     DatumGetInt64(ids.values[i]), DatumGetInt64(column_value(jobs, columns.connection_id)),
                token, jobs->row->tts_tid,           {},
                false};
        }
    }
    return count;
}

// Each row is read anew once its lock is there. A job is locked by those only who hold its connection, so
// that taking the two together, row by row, cannot meet somebody who has them the other way round.
void lock_running(RowTable* jobs, RowTable* connections, const Columns& columns, Running* running,
                  int count) {
    for (int i = 0; i < count; ++i) {
        CHECK_FOR_INTERRUPTS();
        Running& job = running[i];
        if (i > 0 && running[i - 1].id == job.id) {
            // Given twice: the first counts.
            continue;
        }
        if (!find_row_near(connections, places_in(job.token).connection, columns.of_connection,
                           job.connection) ||
            !lock_row(connections, LockTupleNoKeyExclusive, true, true)) {
            continue;
        }
        job.connection_place = connections->row->tts_tid;
        job.locked = fetch_row(jobs, &job.place) && lock_row(jobs, LockTupleExclusive, true, true) &&
                     runs_under(jobs, columns, job.token) &&
                     DatumGetInt64(column_value(jobs, columns.connection_id)) == job.connection;
        job.place = jobs->row->tts_tid;
    }
}

}  // namespace

SYNC_ENGINE_FUNCTION(lock_results) {
    constexpr int kColumns = 5;
    static constexpr Oid kTypes[kColumns] = {INT4OID, INT8OID, UUIDOID, TIDOID, TIDOID};
    const Elements ids = elements_of(fcinfo, 0);
    const Elements tokens = elements_of(fcinfo, 1);
    auto* running = static_cast<Running*>(palloc(sizeof(Running) * (static_cast<Size>(ids.count) + 1)));
    RowTable* jobs = open_table("sync_jobs", RowExclusiveLock);
    RowTable* connections = open_table("connections", RowExclusiveLock);
    const Columns columns = {column_of(jobs, "connection_id"), column_of(jobs, "status"),
                             column_of(jobs, "claim_token"), column_of(connections, "id")};
    const int count = find_running(jobs, columns, ids, tokens, running);
    qsort(running, static_cast<Size>(count), sizeof(Running), compare_for_locking);
    lock_running(jobs, connections, columns, running, count);
    qsort(running, static_cast<Size>(count), sizeof(Running), compare_positions);
    close_table(jobs);
    close_table(connections);

    Datum* elements[kColumns];
    for (Datum*& column : elements) {
        column = static_cast<Datum*>(palloc(sizeof(Datum) * (static_cast<Size>(count) + 1)));
    }
    int locked = 0;
    for (int i = 0; i < count; ++i) {
        Running& job = running[i];
        if (job.locked) {
            elements[0][locked] = Int32GetDatum(job.at + 1);
            elements[1][locked] = Int64GetDatum(job.id);
            elements[2][locked] = UUIDPGetDatum(&job.token);
            elements[3][locked] = PointerGetDatum(&job.place);
            elements[4][locked++] = PointerGetDatum(&job.connection_place);
        }
    }
    Datum values[kColumns] = {};
    bool nulls[kColumns] = {};
    for (int i = 0; i < kColumns; ++i) {
        nulls[i] = locked == 0;
        values[i] = nulls[i] ? 0 : array_of(elements[i], locked, kTypes[i]);
    }
    PG_RETURN_DATUM(make_record(fcinfo, values, nulls));
}

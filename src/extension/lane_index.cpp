#include "extension/lane_index.hpp"

extern "C" {
#include "access/table.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
}

namespace sync_engine {
namespace {

AttrNumber column_in(Relation table, const char* name) {
    const AttrNumber number = get_attnum(RelationGetRelid(table), name);
    if (number == InvalidAttrNumber) {
        elog(ERROR, "table %s has no column %s", RelationGetRelationName(table), name);
    }
    return number;
}

int compare_places(const void* a, const void* b) {
    ItemPointerData x = *static_cast<const ItemPointerData*>(a);
    ItemPointerData y = *static_cast<const ItemPointerData*>(b);
    return ItemPointerCompare(&x, &y);
}

}  // namespace

Lanes open_lanes() {
    Lanes lanes = {};
    lanes.jobs = table_open(oid_of("sync_jobs"), AccessShareLock);
    lanes.index = index_open(oid_of("sync_jobs_lanes"), AccessShareLock);
    if (lanes.index->rd_index->indrelid != RelationGetRelid(lanes.jobs) ||
        lanes.index->rd_index->indnkeyatts != kId) {
        elog(ERROR, "index %s does not hold lanes", RelationGetRelationName(lanes.index));
    }
    lanes.row = table_slot_create(lanes.jobs, nullptr);
    lanes.id = column_in(lanes.jobs, "id");
    lanes.connection_id = column_in(lanes.jobs, "connection_id");
    lanes.scheduled_at = column_in(lanes.jobs, "scheduled_at");
    lanes.retry_after = column_in(lanes.jobs, "retry_after");
    return lanes;
}

void close_lanes(const Lanes& lanes) {
    ExecDropSingleTupleTableSlot(lanes.row);
    index_close(lanes.index, NoLock);
    table_close(lanes.jobs, NoLock);
}

Datum value_of(const Lanes& lanes, AttrNumber column) {
    bool null = false;
    const Datum value = slot_getattr(lanes.row, column, &null);
    if (null) {
        elog(ERROR, "column %d of a job is null", column);
    }
    return value;
}

TimestampTz due_of(const Lanes& lanes) {
    bool null = false;
    const Datum retry = slot_getattr(lanes.row, lanes.retry_after, &null);
    const TimestampTz scheduled = DatumGetTimestampTz(value_of(lanes, lanes.scheduled_at));
    return null ? scheduled : Max(scheduled, DatumGetTimestampTz(retry));
}

void set_key(const Lanes& lanes, ScanKey key, AttrNumber column, StrategyNumber strategy,
             RegProcedure function, Datum value) {
    ScanKeyEntryInitialize(key, 0, column, strategy, InvalidOid, lanes.index->rd_indcollation[column - 1],
                           function, value);
}

Connections open_connections() {
    RowTable* states = open_table("connection_state", AccessShareLock);
    RowTable* rows = open_table("connections", AccessShareLock);
    return {states, rows, column_of(states, "running_job_id"), column_of(rows, "status")};
}

void close_connections(const Connections& connections) {
    close_table(connections.rows);
    close_table(connections.states);
}

bool may_run(const Connections& connections, int64 id) {
    bool idle = false;
    if (!find_row(connections.states, F_INT8EQ, Int64GetDatum(id))) {
        return false;
    }
    get_column(connections.states, connections.running_job_id, &idle);
    if (!idle || !find_row(connections.rows, F_INT8EQ, Int64GetDatum(id))) {
        return false;
    }
    bool null = false;
    const text* status = DatumGetTextPP(get_column(connections.rows, connections.status, &null));
    static constexpr char kActive[] = "active";
    return !null && VARSIZE_ANY_EXHDR(status) == sizeof kActive - 1 &&
           memcmp(VARDATA_ANY(status), kActive, sizeof kActive - 1) == 0;
}

Passed passed_of(FunctionCallInfo fcinfo, int argument) {
    const Elements given = elements_of(fcinfo, argument);
    const Size size = sizeof(ItemPointerData) * (static_cast<Size>(given.count) + 1);
    Passed passed = {static_cast<ItemPointerData*>(palloc(size)), 0};
    for (int i = 0; i < given.count; ++i) {
        if (!given.is_null(i)) {
            passed.places[passed.count++] = *reinterpret_cast<ItemPointer>(DatumGetPointer(given.values[i]));
        }
    }
    qsort(passed.places, static_cast<Size>(passed.count), sizeof(ItemPointerData), compare_places);
    return passed;
}

bool has_place(const Passed& passed, const ItemPointerData& place) {
    return passed.count > 0 && bsearch(&place, passed.places, static_cast<Size>(passed.count),
                                       sizeof(ItemPointerData), compare_places) != nullptr;
}

}  // namespace sync_engine

// What waits in tenants' lanes, read from the index sync_jobs_lanes: which lanes there are, a probe each, and
// what comes next of several lanes, in claim order, without reading more of any than that takes.
#include <algorithm>

#include "extension/boundary.hpp"
#include "extension/job_functions.hpp"
#include "extension/records.hpp"
#include "extension/row_table.hpp"

extern "C" {
#include "access/nbtree.h"
#include "access/table.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
}

namespace sync_engine {
namespace {

// Columns of the index: (provider_slug, priority DESC, tenant_id, due, id).
constexpr AttrNumber kProvider = 1;
constexpr AttrNumber kPriority = 2;
constexpr AttrNumber kTenant = 3;
constexpr AttrNumber kDue = 4;
constexpr AttrNumber kId = 5;

struct Lanes {
    Relation jobs;
    Relation index;
    TupleTableSlot* row;
    AttrNumber id;
    AttrNumber connection_id;
    AttrNumber scheduled_at;
    AttrNumber retry_after;
};

AttrNumber column_in(Relation table, const char* name) {
    const AttrNumber number = get_attnum(RelationGetRelid(table), name);
    if (number == InvalidAttrNumber) {
        elog(ERROR, "table %s has no column %s", RelationGetRelationName(table), name);
    }
    return number;
}

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

// Which connections may run a job: those that are active and run none.
struct Connections {
    RowTable* states;
    RowTable* rows;
    AttrNumber running_job_id;
    AttrNumber status;
};

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

// Jobs that the claim has met before, by their places, sorted.
struct Passed {
    ItemPointerData* places;
    int count;
};

int compare_places(const void* a, const void* b) {
    ItemPointerData x = *static_cast<const ItemPointerData*>(a);
    ItemPointerData y = *static_cast<const ItemPointerData*>(b);
    return ItemPointerCompare(&x, &y);
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

// The walk over the lanes of a provider. Entries of a lane that has been dealt with are stepped over, which
// costs little since the index hands out whole pages; where they are many, a probe leads behind the lane.
struct Walk {
    Lanes lanes;
    Connections connections;
    Passed passed;
    TimestampTz as_of;
    Datum provider;
    IndexScanDesc tenants;     // behind a lane, within its priority
    IndexScanDesc priorities;  // from a priority on
    IndexScanDesc scan;        // of the two
    int32 priority;            // the lane that was dealt with last
    text* tenant;
    ResultSet result;
};

constexpr int kMostSteps = 64;

void seek_priority(Walk* walk, int32 most) {
    ScanKeyData keys[2];
    set_key(walk->lanes, &keys[0], kProvider, BTEqualStrategyNumber, F_TEXTEQ, walk->provider);
    set_key(walk->lanes, &keys[1], kPriority, BTLessEqualStrategyNumber, F_INT4LE, Int32GetDatum(most));
    walk->scan = walk->priorities;
    index_rescan(walk->scan, keys, lengthof(keys), nullptr, 0);
}

void seek_tenant(Walk* walk) {
    ScanKeyData keys[3];
    set_key(walk->lanes, &keys[0], kProvider, BTEqualStrategyNumber, F_TEXTEQ, walk->provider);
    set_key(walk->lanes, &keys[1], kPriority, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(walk->priority));
    set_key(walk->lanes, &keys[2], kTenant, BTGreaterStrategyNumber, F_TEXT_GT,
            PointerGetDatum(walk->tenant));
    walk->scan = walk->tenants;
    index_rescan(walk->scan, keys, lengthof(keys), nullptr, 0);
}

Datum value_in_index(const Walk& walk, AttrNumber column) {
    bool null = false;
    return index_getattr(walk.scan->xs_itup, column, walk.scan->xs_itupdesc, &null);
}

bool in_last_lane(const Walk& walk) {
    if (walk.tenant == nullptr || DatumGetInt32(value_in_index(walk, kPriority)) != walk.priority) {
        return false;
    }
    const text* tenant = DatumGetTextPP(value_in_index(walk, kTenant));
    const Size length = VARSIZE_ANY_EXHDR(tenant);
    return length == VARSIZE_ANY_EXHDR(walk.tenant) &&
           memcmp(VARDATA_ANY(tenant), VARDATA_ANY(walk.tenant), length) == 0;
}

// The next entry of another lane than the last.
bool next_entry(Walk* walk) {
    int steps = 0;
    for (;;) {
        CHECK_FOR_INTERRUPTS();
        if (index_getnext_tid(walk->scan, ForwardScanDirection) == nullptr) {
            if (walk->scan == walk->priorities || walk->priority == PG_INT32_MIN) {
                return false;
            }
            seek_priority(walk, walk->priority - 1);
        } else if (!in_last_lane(*walk)) {
            return true;
        } else if (++steps == kMostSteps) {
            seek_tenant(walk);
        }
    }
}

void remember_lane(Walk* walk) {
    if (walk->tenant != nullptr) {
        pfree(walk->tenant);
    }
    walk->priority = DatumGetInt32(value_in_index(*walk, kPriority));
    walk->tenant = DatumGetTextPCopy(value_in_index(*walk, kTenant));
}

// The entry's job can be had.
bool is_head(const Walk& walk) {
    return index_fetch_heap(walk.scan, walk.lanes.row) && !has_place(walk.passed, walk.lanes.row->tts_tid) &&
           may_run(walk.connections, DatumGetInt64(value_of(walk.lanes, walk.lanes.connection_id)));
}

void tell_lanes(Walk* walk) {
    seek_priority(walk, PG_INT32_MAX);
    while (next_entry(walk)) {
        const Datum due = value_in_index(*walk, kDue);
        const bool later = DatumGetTimestampTz(due) > walk->as_of;
        if (!later && !is_head(*walk)) {
            continue;
        }
        remember_lane(walk);
        if (!later) {
            Datum values[] = {Int32GetDatum(walk->priority), PointerGetDatum(walk->tenant), due,
                              value_in_index(*walk, kId)};
            bool nulls[] = {false, false, false, false};
            tuplestore_putvalues(walk->result.store, walk->result.descriptor, values, nulls);
        }
    }
}

IndexScanDesc begin_walk(const Lanes& lanes, int columns) {
    IndexScanDesc scan = begin_index_scan(lanes.jobs, lanes.index, GetActiveSnapshot(), columns);
    scan->xs_want_itup = true;
    return scan;
}

struct Job {
    int64 id;
    int64 connection;
    TimestampTz due;
    ItemPointerData place;
};

// A lane that is being read, some jobs at a time.
struct Lane {
    Datum provider;
    Datum tenant;
    int32 priority;
    int most;   // jobs still to be had of it
    int* room;  // of its tenant, shared by the tenant's lanes
    TimestampTz last_due;
    int64 last_id;
    Job* jobs;
    int at;
    int count;
    int fetch;  // so many at the next look
    bool over;  // nothing is behind these
};

constexpr int kFirstLook = 2;
constexpr int kMostAtOnce = 128;

struct Merge {
    Lanes lanes;
    IndexScanDesc scan;
    Connections connections;
    Passed passed;
    TimestampTz as_of;
};

// Begins behind the lane's last job, whatever was read in between.
void seek_lane(const Merge& merge, const Lane& lane, ScanKey keys, ScanKey after) {
    const Lanes& lanes = merge.lanes;
    set_key(lanes, &keys[0], kProvider, BTEqualStrategyNumber, F_TEXTEQ, lane.provider);
    set_key(lanes, &keys[1], kPriority, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(lane.priority));
    set_key(lanes, &keys[2], kTenant, BTEqualStrategyNumber, F_TEXTEQ, lane.tenant);
    const auto compare = [&](AttrNumber column) {
        return index_getprocinfo(lanes.index, column, BTORDER_PROC)->fn_oid;
    };
    ScanKeyEntryInitialize(&after[0], SK_ROW_MEMBER, kDue, BTGreaterStrategyNumber, TIMESTAMPTZOID,
                           InvalidOid, compare(kDue), TimestampTzGetDatum(lane.last_due));
    ScanKeyEntryInitialize(&after[1], SK_ROW_MEMBER | SK_ROW_END, kId, BTGreaterStrategyNumber, INT8OID,
                           InvalidOid, compare(kId), Int64GetDatum(lane.last_id));
    MemSet(&keys[3], 0, sizeof(ScanKeyData));
    keys[3].sk_flags = SK_ROW_HEADER;
    keys[3].sk_attno = kDue;
    keys[3].sk_strategy = BTGreaterStrategyNumber;
    keys[3].sk_argument = PointerGetDatum(after);
    index_rescan(merge.scan, keys, 4, nullptr, 0);
}

void read_more(const Merge& merge, Lane* lane) {
    ScanKeyData keys[4];
    ScanKeyData after[2];
    lane->at = 0;
    lane->count = 0;
    if (lane->over) {
        return;
    }
    const int wanted = Min(lane->fetch, lane->most);
    lane->fetch = Min(4 * lane->fetch, kMostAtOnce);
    lane->jobs = static_cast<Job*>(lane->jobs == nullptr
                                       ? palloc(sizeof(Job) * static_cast<Size>(wanted))
                                       : repalloc(lane->jobs, sizeof(Job) * static_cast<Size>(wanted)));
    seek_lane(merge, *lane, keys, after);
    while (lane->count < wanted) {
        CHECK_FOR_INTERRUPTS();
        if (!index_getnext_slot(merge.scan, ForwardScanDirection, merge.lanes.row)) {
            lane->over = true;
            return;
        }
        const Lanes& lanes = merge.lanes;
        const Job job = {DatumGetInt64(value_of(lanes, lanes.id)),
                         DatumGetInt64(value_of(lanes, lanes.connection_id)), due_of(lanes),
                         lanes.row->tts_tid};
        if (job.due > merge.as_of) {
            lane->over = true;
            return;
        }
        lane->last_due = job.due;
        lane->last_id = job.id;
        if (!has_place(merge.passed, job.place) && may_run(merge.connections, job.connection)) {
            lane->jobs[lane->count++] = job;
        }
    }
}

// Whether the lane still has a job to give; reads on where it has to.
bool has_job(const Merge& merge, Lane* lane) {
    if (lane->most <= 0 || (lane->room != nullptr && *lane->room <= 0)) {
        return false;
    }
    if (lane->at == lane->count) {
        read_more(merge, lane);
    }
    return lane->at < lane->count;
}

// Of a heap whose first is the lane that comes next.
struct Later {
    const Lane* lanes;
    bool operator()(int a, int b) const {
        const Lane& x = lanes[a];
        const Lane& y = lanes[b];
        if (x.priority != y.priority) {
            return x.priority < y.priority;
        }
        const Job& job = x.jobs[x.at];
        const Job& other = y.jobs[y.at];
        return job.due != other.due ? job.due > other.due : job.id > other.id;
    }
};

// The room of a tenant counts over all its lanes.
void share_rooms(Lane* lanes, int count, const Elements& rooms) {
    auto* order = static_cast<int*>(palloc(sizeof(int) * (static_cast<Size>(count) + 1)));
    auto* room = static_cast<int*>(palloc(sizeof(int) * (static_cast<Size>(count) + 1)));
    for (int i = 0; i < count; ++i) {
        order[i] = i;
    }
    const auto compare = [lanes](int a, int b) {
        const text* x = DatumGetTextPP(lanes[a].tenant);
        const text* y = DatumGetTextPP(lanes[b].tenant);
        const Size length = VARSIZE_ANY_EXHDR(x);
        const Size other = VARSIZE_ANY_EXHDR(y);
        return length != other ? (length < other ? -1 : 1) : memcmp(VARDATA_ANY(x), VARDATA_ANY(y), length);
    };
    std::sort(order, order + count, [&compare](int a, int b) { return compare(a, b) < 0; });
    for (int i = 0; i < count; ++i) {
        const int lane = order[i];
        if (rooms.is_null(lane)) {
            continue;
        }
        if (i > 0 && lanes[order[i - 1]].room != nullptr && compare(order[i - 1], lane) == 0) {
            lanes[lane].room = lanes[order[i - 1]].room;
        } else {
            room[i] = DatumGetInt32(rooms.values[lane]);
            lanes[lane].room = &room[i];
        }
    }
}

Lane* lanes_of(FunctionCallInfo fcinfo, int* count) {
    const Elements providers = elements_of(fcinfo, 0);
    const Elements priorities = elements_of(fcinfo, 1);
    const Elements tenants = elements_of(fcinfo, 2);
    const Elements most = elements_of(fcinfo, 3);
    const Elements rooms = elements_of(fcinfo, 4);
    *count = providers.count;
    if (priorities.count != *count || tenants.count != *count || most.count != *count ||
        rooms.count != *count) {
        elog(ERROR, "arrays of different lengths");
    }
    auto* lanes = static_cast<Lane*>(palloc0(sizeof(Lane) * (static_cast<Size>(*count) + 1)));
    for (int i = 0; i < *count; ++i) {
        if (providers.is_null(i) || priorities.is_null(i) || tenants.is_null(i) || most.is_null(i)) {
            elog(ERROR, "null among the lanes");
        }
        Lane& lane = lanes[i];
        lane.provider = providers.values[i];
        lane.tenant = tenants.values[i];
        lane.priority = DatumGetInt32(priorities.values[i]);
        lane.most = DatumGetInt32(most.values[i]);
        lane.last_due = DT_NOBEGIN;
        lane.last_id = PG_INT64_MIN;
        lane.fetch = kFirstLook;
    }
    share_rooms(lanes, *count, rooms);
    return lanes;
}

void tell_job(const ResultSet& result, const Lane& lane, Job* job) {
    Datum values[] = {lane.provider,
                      Int32GetDatum(lane.priority),
                      lane.tenant,
                      Int64GetDatum(job->id),
                      PointerGetDatum(&job->place),
                      Int64GetDatum(job->connection),
                      TimestampTzGetDatum(job->due)};
    bool nulls[lengthof(values)] = {};
    tuplestore_putvalues(result.store, result.descriptor, values, nulls);
}

}  // namespace
}  // namespace sync_engine

using namespace sync_engine;

SYNC_ENGINE_FUNCTION(lane_heads) {
    Walk walk = {};
    walk.provider = PointerGetDatum(PG_GETARG_TEXT_PP(0));
    walk.as_of = PG_GETARG_TIMESTAMPTZ(1);
    walk.passed = passed_of(fcinfo, 2);
    walk.result = begin_result_set(fcinfo);
    walk.lanes = open_lanes();
    walk.connections = open_connections();
    walk.tenants = begin_walk(walk.lanes, 3);
    walk.priorities = begin_walk(walk.lanes, 2);
    tell_lanes(&walk);
    index_endscan(walk.tenants);
    index_endscan(walk.priorities);
    close_connections(walk.connections);
    close_lanes(walk.lanes);
    return PointerGetDatum(nullptr);
}

SYNC_ENGINE_FUNCTION(next_lane_jobs) {
    int count = 0;
    Lane* lanes = lanes_of(fcinfo, &count);
    Merge merge = {};
    merge.passed = passed_of(fcinfo, 5);
    int wanted = PG_ARGISNULL(6) ? PG_INT32_MAX : PG_GETARG_INT32(6);
    merge.as_of = PG_GETARG_TIMESTAMPTZ(7);
    const ResultSet result = begin_result_set(fcinfo);
    if (count == 0) {
        return PointerGetDatum(nullptr);
    }
    merge.lanes = open_lanes();
    merge.scan = begin_index_scan(merge.lanes.jobs, merge.lanes.index, GetActiveSnapshot(), 4);
    merge.connections = open_connections();
    auto* heap = static_cast<int*>(palloc(sizeof(int) * static_cast<Size>(count)));
    const Later later = {lanes};
    int size = 0;
    for (int i = 0; i < count; ++i) {
        if (has_job(merge, &lanes[i])) {
            heap[size++] = i;
        }
    }
    std::make_heap(heap, heap + size, later);
    while (wanted > 0 && size > 0) {
        std::pop_heap(heap, heap + size, later);
        Lane& lane = lanes[heap[size - 1]];
        // Another lane of its tenant may have had the last room.
        if (lane.room == nullptr || *lane.room > 0) {
            tell_job(result, lane, &lane.jobs[lane.at]);
            lane.at += 1;
            lane.most -= 1;
            wanted -= 1;
            if (lane.room != nullptr) {
                *lane.room -= 1;
            }
        }
        if (has_job(merge, &lane)) {
            std::push_heap(heap, heap + size, later);
        } else {
            --size;
        }
    }
    index_endscan(merge.scan);
    close_connections(merge.connections);
    close_lanes(merge.lanes);
    return PointerGetDatum(nullptr);
}

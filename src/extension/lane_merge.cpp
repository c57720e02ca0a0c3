// What comes next of several lanes, in claim order, without reading more of any than that takes.
#include <algorithm>

#include "extension/boundary.hpp"
#include "extension/lane_index.hpp"
#include "extension/records.hpp"

extern "C" {
#include "access/nbtree.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
}

namespace sync_engine {
namespace {

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

// Which lanes tenants have at a provider, a probe each, and the first job of each that could begin.
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

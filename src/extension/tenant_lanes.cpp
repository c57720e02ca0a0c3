// The tenants whose running jobs are limited, remembered by each process.
#include "extension/tenant_lanes.hpp"

#include <algorithm>

#include "extension/boundary.hpp"
#include "extension/guc.hpp"
#include "extension/row_table.hpp"

extern "C" {
#include "access/table.h"
#include "access/xact.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "executor/tuptable.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
}

namespace sync_engine {
namespace {

constexpr char kLimits[] = "tenant_limits";
constexpr char kEverybody[] = "*";

// By hash: two tenants that share one cost each other no more than a lane.
struct Limited {
    uint64 tenant;
    bool limited;
};

struct KnownLimits {
    bool valid;
    bool stale;  // something has changed since it was begun to be read
    bool watched;
    Oid table;
    bool everybody;  // but those that are known otherwise
    Limited* tenants;
    int count;
    int room;
};

KnownLimits known = {};

uint64 hash_of(const char* tenant, Size length) {
    return hash_bytes_extended(reinterpret_cast<const unsigned char*>(tenant), static_cast<int>(length), 0);
}

bool before(const Limited& a, const Limited& b) {
    return a.tenant < b.tenant;
}

void on_relation_changed(Datum, Oid relation) {
    if (relation == InvalidOid || relation == known.table) {
        known.valid = false;
        known.stale = true;
    }
}

void remember(const Limited& tenant) {
    if (known.count == known.room) {
        const int room = Max(64, 2 * known.room);
        const Size size = sizeof(Limited) * static_cast<Size>(room);
        known.tenants =
            static_cast<Limited*>(known.tenants == nullptr ? MemoryContextAlloc(TopMemoryContext, size)
                                                           : repalloc(known.tenants, size));
        known.room = room;
    }
    known.tenants[known.count++] = tenant;
}

void read_limit(TupleTableSlot* row, AttrNumber tenant, AttrNumber limit) {
    bool null = false;
    const text* name = DatumGetTextPP(slot_getattr(row, tenant, &null));
    slot_getattr(row, limit, &null);
    const auto length = static_cast<Size>(VARSIZE_ANY_EXHDR(name));
    if (length == sizeof kEverybody - 1 && memcmp(VARDATA_ANY(name), kEverybody, length) == 0) {
        known.everybody = !null;
    } else {
        remember({hash_of(VARDATA_ANY(name), length), !null});
    }
}

// Its own transaction's changes, too: what they set counts from now on.
void read_limits() {
    known.table = oid_of(kLimits);
    known.everybody = false;
    known.count = 0;
    // With the lock comes the news of what others have changed: what changes after it makes this stale.
    Relation table = table_open(known.table, AccessShareLock);
    known.stale = false;
    const AttrNumber tenant = get_attnum(known.table, "tenant_id");
    const AttrNumber limit = get_attnum(known.table, "max_running");
    if (tenant == InvalidAttrNumber || limit == InvalidAttrNumber) {
        elog(ERROR, "table %s does not hold limits", kLimits);
    }
    Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
    TupleTableSlot* row = table_slot_create(table, nullptr);
    TableScanDesc scan = table_beginscan(table, snapshot, 0, nullptr);
    while (table_scan_getnextslot(scan, ForwardScanDirection, row)) {
        read_limit(row, tenant, limit);
    }
    table_endscan(scan);
    ExecDropSingleTupleTableSlot(row);
    UnregisterSnapshot(snapshot);
    table_close(table, NoLock);
    std::sort(known.tenants, known.tenants + known.count, before);
    known.valid = !known.stale;
}

}  // namespace

bool has_own_lane(const text* tenant) {
    if (guc::fair_share) {
        return true;
    }
    if (!known.watched) {
        CacheRegisterRelcacheCallback(on_relation_changed, 0);
        known.watched = true;
    }
    if (!known.valid) {
        read_limits();
    }
    if (known.count == 0) {
        return known.everybody;
    }
    const Limited wanted = {hash_of(VARDATA_ANY(tenant), static_cast<Size>(VARSIZE_ANY_EXHDR(tenant))),
                            false};
    const Limited* end = known.tenants + known.count;
    const Limited* found = std::lower_bound(static_cast<const Limited*>(known.tenants), end, wanted, before);
    return found != end && found->tenant == wanted.tenant ? found->limited : known.everybody;
}

}  // namespace sync_engine

using namespace sync_engine;

SYNC_ENGINE_FUNCTION(limits_written) {
    if (!CALLED_AS_TRIGGER(fcinfo)) {
        ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
                        errmsg("_limits_written was not called as a trigger")));
    }
    CacheInvalidateRelcache(reinterpret_cast<TriggerData*>(fcinfo->context)->tg_relation);
    // This session, too, reads them anew.
    CommandCounterIncrement();
    return PointerGetDatum(nullptr);
}

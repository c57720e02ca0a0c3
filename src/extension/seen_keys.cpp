// Which dedupe keys are new: a set for those of one call, index scans for those of earlier ones.
#include "extension/seen_keys.hpp"

extern "C" {
#include "access/genam.h"
#include "access/nbtree.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/index.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
}

namespace sync_engine {

namespace {

constexpr int kKeyColumns = 3;

bool same_text(const text* a, const text* b) {
    const std::size_t length = VARSIZE_ANY_EXHDR(a);
    return length == VARSIZE_ANY_EXHDR(b) && memcmp(VARDATA_ANY(a), VARDATA_ANY(b), length) == 0;
}

// The order of an index's dedupe keys.
struct Order {
    FmgrInfo* compare;
    Oid collation;
};

Order order_of(Relation index) {
    return {index_getprocinfo(index, kKeyColumns, BTORDER_PROC), index->rd_indcollation[kKeyColumns - 1]};
}

int compare_texts(const Order& order, Datum a, Datum b) {
    return DatumGetInt32(FunctionCall2Coll(order.compare, order.collation, a, b));
}

int compare_keys(const void* a, const void* b, void* order) {
    return compare_texts(*static_cast<const Order*>(order),
                         PointerGetDatum((*static_cast<DedupeKey* const*>(a))->key),
                         PointerGetDatum((*static_cast<DedupeKey* const*>(b))->key));
}

// One connection's entries in an index, from a key on.
struct Walk {
    Relation index;
    IndexScanDesc scan;
    TupleTableSlot* slot;
    Datum tenant;
    int64 connection;
};

// To the first entry at or after the key; false when there is none.
bool seek(const Walk& walk, text* key) {
    ScanKeyData keys[kKeyColumns];
    const auto set = [&](int column, StrategyNumber strategy, RegProcedure procedure, Datum value) {
        ScanKeyEntryInitialize(&keys[column], 0, static_cast<AttrNumber>(column + 1), strategy, InvalidOid,
                               walk.index->rd_indcollation[column], procedure, value);
    };
    set(0, BTEqualStrategyNumber, F_TEXTEQ, walk.tenant);
    set(1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(walk.connection));
    set(2, BTGreaterEqualStrategyNumber, F_TEXT_GE, PointerGetDatum(key));
    index_rescan(walk.scan, keys, kKeyColumns, nullptr, 0);
    return index_getnext_slot(walk.scan, ForwardScanDirection, walk.slot);
}

// Keys and entries are in the same order, so each entry that is met disposes of all keys before it: the cost
// is that of the shorter of the two, however far their ranges overlap.
void mark_in_index(const Walk& walk, DedupeKey** keys, int count) {
    const Order order = order_of(walk.index);
    const AttrNumber column = walk.index->rd_index->indkey.values[kKeyColumns - 1];
    bool entry = false;
    for (int i = 0; i < count;) {
        CHECK_FOR_INTERRUPTS();
        if (!entry) {
            if (!seek(walk, keys[i]->key)) {
                return;
            }
            entry = true;
        }
        bool null = false;
        const Datum found = slot_getattr(walk.slot, column, &null);
        const int difference = compare_texts(order, PointerGetDatum(keys[i]->key), found);
        if (difference < 0) {
            ++i;
        } else if (difference == 0) {
            keys[i++]->seen = true;
            // The next key is often in the next entry.
            if (!index_getnext_slot(walk.scan, ForwardScanDirection, walk.slot)) {
                return;
            }
        } else {
            entry = false;
        }
    }
}

// All such indexes have the same order; the keys are sorted for the first.
// The table before its index, as everywhere; retention may have dropped both while the lock was waited for.
void mark_in(Oid oid, const KeySet& set, Datum tenant, int64 connection, bool* sorted) {
    const Oid table = IndexGetRelation(oid, true);
    Relation heap = OidIsValid(table) ? try_table_open(table, AccessShareLock) : nullptr;
    if (heap == nullptr) {
        return;
    }
    Relation index = index_open(oid, AccessShareLock);
    const Walk walk = {index, begin_index_scan(heap, index, GetActiveSnapshot(), kKeyColumns),
                       table_slot_create(heap, nullptr), tenant, connection};
    if (!*sorted) {
        Order order = order_of(index);
        qsort_arg(set.added, static_cast<std::size_t>(set.count), sizeof(DedupeKey*), compare_keys, &order);
        *sorted = true;
    }
    mark_in_index(walk, set.added, set.count);
    index_endscan(walk.scan);
    ExecDropSingleTupleTableSlot(walk.slot);
    index_close(index, NoLock);
    table_close(heap, NoLock);
}

}  // namespace

KeySet make_key_set(uint32 most_keys) {
    uint32 size = 16;
    while (size < 2 * static_cast<uint64>(most_keys)) {
        size *= 2;
    }
    return {static_cast<DedupeKey**>(palloc0(sizeof(DedupeKey*) * size)), size - 1,
            static_cast<DedupeKey**>(palloc(sizeof(DedupeKey*) * (most_keys + 1))), 0};
}

DedupeKey* add_key(KeySet* set, text* key) {
    uint32 at = hash_bytes(reinterpret_cast<unsigned char*>(VARDATA_ANY(key)),
                           static_cast<int>(VARSIZE_ANY_EXHDR(key)));
    for (;; ++at) {
        DedupeKey*& slot = set->slots[at & set->mask];
        if (slot == nullptr) {
            slot = static_cast<DedupeKey*>(palloc(sizeof(DedupeKey)));
            *slot = {key, false};
            return set->added[set->count++] = slot;
        }
        if (same_text(slot->key, key)) {
            return nullptr;
        }
    }
}

void mark_seen(const KeySet& set, Datum tenant, int64 connection, ArrayType* indexes) {
    if (set.count == 0 || ARR_NDIM(indexes) != 1 || ARR_HASNULL(indexes) || ARR_ELEMTYPE(indexes) != OIDOID) {
        return;
    }
    const int given = ARR_DIMS(indexes)[0];
    const Oid* oids = reinterpret_cast<Oid*>(ARR_DATA_PTR(indexes));
    bool sorted = false;
    for (int i = 0; i < given; ++i) {
        mark_in(oids[i], set, tenant, connection, &sorted);
    }
}

}  // namespace sync_engine

// The one place that knows how PostgreSQL 14 to 18 differ. Include after the C++ headers: it brings
// postgres.h and fmgr.h, and no C++ header may follow it.
#pragma once

#include <cstdint>

extern "C" {
#include "postgres.h"

#include "access/genam.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/relcache.h"

#if PG_VERSION_NUM >= 150000
#include "common/pg_prng.h"
#endif
}

#if PG_VERSION_NUM < 140000 || PG_VERSION_NUM >= 190000
#error "sync_engine supports PostgreSQL 14 to 18"
#endif

namespace sync_engine {

// 64 random bits from the backend's own generator.
inline std::uint64_t random_bits() {
#if PG_VERSION_NUM >= 150000
    return pg_prng_uint64(&pg_global_prng_state);
#else
    // random() yields 31 bits; the shifts overlap so that no bit is left out.
    return static_cast<std::uint64_t>(random()) << 42 ^ static_cast<std::uint64_t>(random()) << 21 ^
           static_cast<std::uint64_t>(random());
#endif
}

inline void reserve_guc_prefix(const char* prefix) {
#if PG_VERSION_NUM >= 150000
    MarkGUCPrefixReserved(prefix);
#else
    EmitWarningsOnPlaceholders(prefix);
#endif
}

// The elements of a text[]; NULL elements are reported in *nulls.
inline void deconstruct_text_array(ArrayType* array, Datum** elements, bool** nulls, int* count) {
#if PG_VERSION_NUM >= 160000
    deconstruct_array_builtin(array, TEXTOID, elements, nulls, count);
#else
    deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, elements, nulls, count);
#endif
}

// A scan of the index by so many of its columns; index_rescan gives it its keys.
inline IndexScanDesc begin_index_scan(Relation heap, Relation index, Snapshot snapshot, int columns) {
#if PG_VERSION_NUM >= 180000
    return index_beginscan(heap, index, snapshot, nullptr, columns, 0);
#else
    return index_beginscan(heap, index, snapshot, columns, 0);
#endif
}

// The index of the primary key; raises nothing, and is invalid where there is none.
inline Oid primary_key_index(Relation relation) {
#if PG_VERSION_NUM >= 180000
    return RelationGetPrimaryKeyIndex(relation, false);
#else
    return RelationGetPrimaryKeyIndex(relation);
#endif
}

// To be called after a commit that notified, where no client's session does it.
inline void send_notifications() {
#if PG_VERSION_NUM < 150000
    ProcessCompletedNotifies();
#endif
}

}  // namespace sync_engine

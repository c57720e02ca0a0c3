// Which dedupe keys are new. Everything lives in the memory context and resource owner of the caller, so that
// an error leaves nothing behind.
#pragma once

#include "extension/compat.hpp"

namespace sync_engine {

struct DedupeKey {
    text* key;
    bool seen;
};

// The keys of one call, each once: open addressing, at most half full.
struct KeySet {
    DedupeKey** slots;
    uint32 mask;
    DedupeKey** added;  // in the order of arrival
    int count;
};

KeySet make_key_set(uint32 most_keys);

// Null when it was there.
DedupeKey* add_key(KeySet* set, text* key);

// Marks those that one of the indexes by (tenant_id, connection_id, dedupe_key) holds in the active snapshot.
// `indexes` is an oid[]; one that is gone holds nothing. Locks stay until the transaction ends.
void mark_seen(const KeySet& set, Datum tenant, int64 connection, ArrayType* indexes);

}  // namespace sync_engine

#include "extension/change_set.hpp"

extern "C" {
#include "common/hashfn.h"
#include "utils/memutils.h"
}

namespace sync_engine {
namespace {

constexpr int kFirstCapacity = 16;

uint32* find_slot(const ChangeSet& set, const Change& change) {
    const uint32 mask = 2 * static_cast<uint32>(set.capacity) - 1;
    uint32 slot = hash_bytes(reinterpret_cast<const unsigned char*>(&change), sizeof change) & mask;
    while (set.slots[slot] != 0 && memcmp(&set.items[set.slots[slot] - 1], &change, sizeof change) != 0) {
        slot = (slot + 1) & mask;
    }
    return &set.slots[slot];
}

void resize(ChangeSet* set, int capacity) {
    const auto size = static_cast<Size>(capacity);
    auto* items = static_cast<Change*>(MemoryContextAlloc(set->context, size * sizeof(Change)));
    auto* slots = static_cast<uint32*>(MemoryContextAllocZero(set->context, 2 * size * sizeof(uint32)));
    if (set->count > 0) {
        memcpy(items, set->items, static_cast<Size>(set->count) * sizeof(Change));
        pfree(set->items);
        pfree(set->slots);
    }
    set->items = items;
    set->slots = slots;
    set->capacity = capacity;
    for (int i = 0; i < set->count; ++i) {
        *find_slot(*set, items[i]) = static_cast<uint32>(i) + 1;
    }
}

}  // namespace

ChangeSet make_change_set(MemoryContext context) {
    ChangeSet set = {context, nullptr, nullptr, 0, 0};
    resize(&set, kFirstCapacity);
    return set;
}

bool has_change(const ChangeSet& set, const Change& change) {
    return *find_slot(set, change) != 0;
}

bool add_change(ChangeSet* set, const Change& change) {
    if (has_change(*set, change)) {
        return false;
    }
    if (set->count == set->capacity) {
        resize(set, 2 * set->capacity);
    }
    uint32* slot = find_slot(*set, change);
    set->items[set->count++] = change;
    *slot = static_cast<uint32>(set->count);
    return true;
}

}  // namespace sync_engine

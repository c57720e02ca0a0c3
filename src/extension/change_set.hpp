// Changes that sessions watch for, and a set of them that keeps the order in which they came.
#pragma once

#include "extension/compat.hpp"

namespace sync_engine {

enum class ChangeKind : std::uint32_t {
    connection,
    job,
    schedule,
    notification,
    reset_tenant,  // more of the tenant's than is told one by one
    reset_watch,   // of all tenants of the database in the watch whose number `tenant` is
};

// Compared and hashed as bytes.
struct Change {
    Oid database;
    ChangeKind kind;
    std::uint64_t tenant;  // a hash
    std::int64_t connection;
    std::int64_t object;
};
static_assert(sizeof(Change) == 32, "no padding in a hash key");

// Changes in order of arrival, and an open-addressing index of twice as many slots, each a position plus one.
struct ChangeSet {
    MemoryContext context;
    Change* items;
    uint32* slots;
    int count;
    int capacity;  // a power of two
};

// An empty set that takes its memory from the context.
ChangeSet make_change_set(MemoryContext context);

bool has_change(const ChangeSet& set, const Change& change);

// False where it is in there already.
bool add_change(ChangeSet* set, const Change& change);

}  // namespace sync_engine

// One NOTIFY a round, by the worker, whatever number of transactions has changed something: a NOTIFY in each
// would have them commit one after the other.
#include "extension/change_teller.hpp"

#include "extension/change_ring.hpp"
#include "extension/worker_slot.hpp"

extern "C" {
#include "miscadmin.h"
}

namespace sync_engine {
namespace {

// What fits into a payload, at eight digits and a comma each.
constexpr int kMostTenants = 800;
constexpr const char* kEveryone = "*";

// Up to where it is told. At first all that the ring still has is: a former worker may have owed it.
std::uint64_t told = 0;

// Puts the tenants into the set, each once; false where they are too many, or more have changed than is
// known.
bool collect(std::uint64_t until, ChangeSet* tenants) {
    Change chunk[kChunk];
    int count = 0;
    for (std::uint64_t at = told; at < until; at += static_cast<std::uint64_t>(count)) {
        if (!copy_changes(at, until, chunk, &count)) {
            return false;
        }
        for (int i = 0; i < count; ++i) {
            if (chunk[i].database != MyDatabaseId) {
                continue;
            }
            if (chunk[i].kind > ChangeKind::reset_tenant || tenants->count == kMostTenants) {
                return false;
            }
            add_change(tenants, {MyDatabaseId, ChangeKind::reset_tenant,
                                 static_cast<std::uint32_t>(chunk[i].tenant), 0, 0});
        }
    }
    return true;
}

const char* payload_of(const ChangeSet& tenants) {
    constexpr Size kDigits = 8;
    char* payload = static_cast<char*>(palloc(static_cast<Size>(tenants.count) * (kDigits + 1) + 1));
    char* end = payload;
    for (int i = 0; i < tenants.count; ++i) {
        end += sprintf(end, "%s%08x", i == 0 ? "" : ",", static_cast<std::uint32_t>(tenants.items[i].tenant));
    }
    return payload;
}

}  // namespace

StepResult tell_changes() {
    // Before the ring is read: what is appended after that is told the next time.
    set_changes_wait(false);
    const std::uint64_t until = ring_position();
    ChangeSet tenants = make_change_set(CurrentMemoryContext);
    const bool known = collect(until, &tenants);
    if (known && tenants.count == 0) {
        told = until;
        return StepResult::done;
    }
    const StepResult result = notify_changes(known ? payload_of(tenants) : kEveryone);
    if (result == StepResult::done) {
        told = until;
    }
    return result;
}

}  // namespace sync_engine

// The passes by which tenants are served in turn: in shared memory, so that all claims of a server know them;
// without preloading each session keeps its own.
#include "extension/fair_shares.hpp"

#include "core/fair_share.hpp"
#include "extension/boundary.hpp"
#include "extension/job_functions.hpp"
#include "extension/shared_memory.hpp"
#include "extension/sql_functions.hpp"

extern "C" {
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/memutils.h"
}

namespace sync_engine {
namespace {

constexpr char kTrancheName[] = "sync_engine_shares";

struct SharedShares {
    LWLock* lock;
    FairTable table;
};

SharedShares* shares = nullptr;
FairTable* own_table = nullptr;

void request_shared_memory() {
    RequestAddinShmemSpace(sizeof(SharedShares));
    RequestNamedLWLockTranche(kTrancheName, 1);
}

void find_shared_memory() {
    bool found = false;
    shares = static_cast<SharedShares*>(ShmemInitStruct("sync_engine shares", sizeof(SharedShares), &found));
    if (!found) {
        forget_shares(&shares->table);
        shares->lock = &GetNamedLWLockTranche(kTrancheName)->lock;
    }
}

// Locked until unlock_table.
FairTable* lock_table() {
    if (shares != nullptr) {
        LWLockAcquire(shares->lock, LW_EXCLUSIVE);
        return &shares->table;
    }
    if (own_table == nullptr) {
        own_table = static_cast<FairTable*>(MemoryContextAllocZero(TopMemoryContext, sizeof(FairTable)));
    }
    return own_table;
}

void unlock_table() {
    if (shares != nullptr) {
        LWLockRelease(shares->lock);
    }
}

// Each priority of a database is a queue.
uint64 queue_of(int32 priority) {
    const struct {
        Oid database;
        int32 priority;
    } name = {MyDatabaseId, priority};
    return hash_bytes_extended(reinterpret_cast<const unsigned char*>(&name), sizeof name, 0) | 1U;
}

uint64 key_of(Datum tenant) {
    const text* name = DatumGetTextPP(tenant);
    const uint64 hash = hash_bytes_extended(reinterpret_cast<const unsigned char*>(VARDATA_ANY(name)),
                                            static_cast<int>(VARSIZE_ANY_EXHDR(name)), 0);
    return Max(hash, 2U);
}

// Of the waiters of all queues, which come one after the other.
struct Waiters {
    Elements priorities;
    FairWaiter* waiters;
    int count;
};

Waiters waiters_of(FunctionCallInfo fcinfo) {
    Waiters all = {elements_of(fcinfo, 0), nullptr, 0};
    const Elements tenants = elements_of(fcinfo, 1);
    const Elements weights = elements_of(fcinfo, 2);
    const Elements jobs = elements_of(fcinfo, 3);
    all.count = all.priorities.count;
    if (tenants.count != all.count || weights.count != all.count || jobs.count != all.count) {
        elog(ERROR, "arrays of different lengths");
    }
    all.waiters = static_cast<FairWaiter*>(palloc0(sizeof(FairWaiter) * (static_cast<Size>(all.count) + 1)));
    for (int i = 0; i < all.count; ++i) {
        if (all.priorities.is_null(i) || tenants.is_null(i) || weights.is_null(i) || jobs.is_null(i)) {
            elog(ERROR, "null among the waiters");
        }
        all.waiters[i].key = key_of(tenants.values[i]);
        all.waiters[i].weight = Max(1, DatumGetInt32(weights.values[i]));
        all.waiters[i].most = Max(0, DatumGetInt32(jobs.values[i]));
    }
    return all;
}

int32 priority_at(const Waiters& all, int i) {
    return DatumGetInt32(all.priorities.values[i]);
}

}  // namespace

void fair_shares_init() {
    use_shared_memory(request_shared_memory, find_shared_memory);
}

}  // namespace sync_engine

using namespace sync_engine;

SYNC_ENGINE_FUNCTION(share_fairly) {
    const Waiters all = waiters_of(fcinfo);
    int32 wanted = PG_GETARG_INT32(4);
    auto* scratch = static_cast<int*>(palloc(sizeof(int) * (static_cast<Size>(all.count) + 1)));
    auto* given = static_cast<Datum*>(palloc(sizeof(Datum) * (static_cast<Size>(all.count) + 1)));
    FairTable* table = lock_table();
    for (int from = 0, to = 0; from < all.count && wanted > 0; from = to) {
        while (to < all.count && priority_at(all, to) == priority_at(all, from)) {
            ++to;
        }
        wanted -= share_fairly(table, queue_of(priority_at(all, from)), all.waiters + from, to - from, wanted,
                               scratch);
    }
    unlock_table();
    for (int i = 0; i < all.count; ++i) {
        given[i] = Int32GetDatum(all.waiters[i].given);
    }
    PG_RETURN_ARRAYTYPE_P(construct_array(given, all.count, INT4OID, sizeof(int32), true, TYPALIGN_INT));
}

SYNC_ENGINE_FUNCTION(refund_shares) {
    const Waiters all = waiters_of(fcinfo);
    FairTable* table = lock_table();
    for (int i = 0; i < all.count; ++i) {
        const FairWaiter& waiter = all.waiters[i];
        refund_share(table, queue_of(priority_at(all, i)), waiter.key, waiter.weight, waiter.most);
    }
    unlock_table();
    PG_RETURN_VOID();
}

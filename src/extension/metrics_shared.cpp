// The series in shared memory: two tables of a fixed size under one lock. A series belongs to a database, a
// metric and two labels. When the first table is nearly full, labels fold into 'other', for which the last
// eighth of it is kept; the second table holds the tenants of each database that are counted by name.
#include <algorithm>

#include "extension/guc.hpp"
#include "extension/metrics.hpp"
#include "extension/shared_memory.hpp"

extern "C" {
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/hsearch.h"
}

namespace sync_engine {
namespace {

constexpr char kTrancheName[] = "sync_engine_metrics";

struct TenantKey {
    Oid database;
    char tenant[kMetricLabelSize];
};
static_assert(sizeof(TenantKey) == sizeof(Oid) + kMetricLabelSize, "no padding in a hash key");

// The entry with an empty name counts the tenants of its database.
struct TenantEntry {
    TenantKey key;
    int32 named;
};

// Pointers into shared memory are the same in every process, and are set again when it is made anew.
LWLock* lock = nullptr;
HTAB* series_table = nullptr;
HTAB* tenant_table = nullptr;

// Every tenant by name has a series, and every database that has one needs its counting entry.
long tenant_capacity() {
    return 2L * guc::max_metric_series;
}

void request_shared_memory() {
    RequestAddinShmemSpace(hash_estimate_size(guc::max_metric_series, sizeof(MetricSeries)));
    RequestAddinShmemSpace(hash_estimate_size(tenant_capacity(), sizeof(TenantEntry)));
    RequestNamedLWLockTranche(kTrancheName, 1);
}

void find_shared_memory() {
    constexpr int kFlags = HASH_ELEM | HASH_BLOBS | HASH_FIXED_SIZE;
    HASHCTL series_control = {};
    series_control.keysize = sizeof(MetricKey);
    series_control.entrysize = sizeof(MetricSeries);
    HASHCTL tenant_control = {};
    tenant_control.keysize = sizeof(TenantKey);
    tenant_control.entrysize = sizeof(TenantEntry);

    lock = &GetNamedLWLockTranche(kTrancheName)->lock;
    series_table = ShmemInitHash("sync_engine metric series", guc::max_metric_series, guc::max_metric_series,
                                 &series_control, kFlags);
    tenant_table = ShmemInitHash("sync_engine metric tenants", tenant_capacity(), tenant_capacity(),
                                 &tenant_control, kFlags);
}

// Finds or makes an entry as long as the table holds fewer than `limit`; null where it does not.
template <typename Entry, typename Key>
Entry* find_or_enter(HTAB* table, const Key& key, long limit, bool* found) {
    auto* entry = static_cast<Entry*>(hash_search(table, &key, HASH_FIND, found));
    if (entry == nullptr && hash_get_num_entries(table) < limit) {
        entry = static_cast<Entry*>(hash_search(table, &key, HASH_ENTER_NULL, found));
    }
    return entry;
}

// Whether a tenant is counted by name; the first ones of a database are.
bool admit_tenant(Oid database, const char* tenant) {
    TenantKey key = {};
    key.database = database;
    bool found = false;
    auto* total = find_or_enter<TenantEntry>(tenant_table, key, tenant_capacity(), &found);
    if (total == nullptr) {
        return false;
    }
    if (!found) {
        total->named = 0;
    }
    strlcpy(key.tenant, tenant, sizeof key.tenant);
    if (hash_search(tenant_table, &key, HASH_FIND, nullptr) != nullptr) {
        return true;
    }
    if (total->named >= guc::max_metric_tenants ||
        find_or_enter<TenantEntry>(tenant_table, key, tenant_capacity(), &found) == nullptr) {
        return false;
    }
    ++total->named;
    return true;
}

MetricSeries* find_series(MetricKey key) {
    const long capacity = guc::max_metric_series;
    if (kMetricCatalog[key.metric].label2_is_tenant && key.label2[0] != '\0' &&
        !admit_tenant(key.database, key.label2)) {
        fold_label(key.label2);
    }
    bool found = false;
    auto* series = find_or_enter<MetricSeries>(series_table, key, capacity - capacity / 8, &found);
    if (series == nullptr) {
        fold_label(key.label1);
        fold_label(key.label2);
        series = find_or_enter<MetricSeries>(series_table, key, capacity, &found);
    }
    if (series != nullptr && !found) {
        series->value = 0.0;
        series->histogram = {};
    }
    return series;
}

// Removes the entries of a database from either table; both begin with its OID.
void remove_database(HTAB* table, Oid database) {
    HASH_SEQ_STATUS scan;
    hash_seq_init(&scan, table);
    while (void* entry = hash_seq_search(&scan)) {
        if (*static_cast<Oid*>(entry) == database) {
            hash_search(table, entry, HASH_REMOVE, nullptr);
        }
    }
}

}  // namespace

void metrics_init() {
    use_shared_memory(request_shared_memory, find_shared_memory);
}

bool metrics_available() {
    return series_table != nullptr;
}

void metrics_publish(const MetricSample* samples, int count) {
    LWLockAcquire(lock, LW_EXCLUSIVE);
    for (int i = 0; i < count; ++i) {
        MetricSeries* series = find_series(samples[i].key);
        if (series == nullptr) {
            continue;
        }
        switch (kMetricCatalog[samples[i].key.metric].kind) {
            case MetricKind::counter:
                series->value += samples[i].value;
                break;
            case MetricKind::gauge:
                series->value = samples[i].value;
                break;
            case MetricKind::histogram:
                add_histogram(series->histogram, *samples[i].histogram);
                break;
        }
    }
    LWLockRelease(lock);
}

MetricSeries* metrics_copy(int* count) {
    *count = 0;
    // Allocated before the lock is taken; nothing is added while it is held in shared mode.
    const long capacity = guc::max_metric_series;
    auto* copy = static_cast<MetricSeries*>(
        MemoryContextAllocHuge(CurrentMemoryContext, capacity * sizeof(MetricSeries)));
    LWLockAcquire(lock, LW_SHARED);
    HASH_SEQ_STATUS scan;
    hash_seq_init(&scan, series_table);
    while (const void* entry = hash_seq_search(&scan)) {
        const auto* series = static_cast<const MetricSeries*>(entry);
        if (series->key.database == MyDatabaseId) {
            copy[(*count)++] = *series;
        }
    }
    LWLockRelease(lock);
    return copy;
}

void metrics_forget_database(Oid database) {
    if (!metrics_available()) {
        return;
    }
    LWLockAcquire(lock, LW_EXCLUSIVE);
    remove_database(series_table, database);
    remove_database(tenant_table, database);
    LWLockRelease(lock);
}

}  // namespace sync_engine

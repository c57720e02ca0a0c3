// pg_database, and which databases have been looked at in vain.
#include "extension/database_list.hpp"

extern "C" {
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
}

namespace sync_engine {

namespace {

// What an interrupted DROP DATABASE leaves behind is marked by this connection limit.
constexpr int kInvalidDatabase = -2;

struct AbsentEntry {
    Oid database;  // the key
    std::int64_t look_again;
};

struct DatabaseList {
    MemoryContext context;
    Database* entries;
    int count;
    int capacity;
    HTAB* absent;
};

DatabaseList list = {};

void add_database(const FormData_pg_database* form) {
    if (list.count == list.capacity) {
        list.capacity *= 2;
        list.entries = static_cast<Database*>(repalloc(list.entries, list.capacity * sizeof(Database)));
    }
    list.entries[list.count++] = {form->oid, form->datname};
}

int compare_databases(const void* a, const void* b) {
    const Oid left = static_cast<const Database*>(a)->oid;
    const Oid right = static_cast<const Database*>(b)->oid;
    return left < right ? -1 : left > right ? 1 : 0;
}

void forget_dropped() {
    HASH_SEQ_STATUS scan;
    hash_seq_init(&scan, list.absent);
    while (auto* entry = static_cast<AbsentEntry*>(hash_seq_search(&scan))) {
        if (find_database(entry->database) == nullptr) {
            hash_search(list.absent, &entry->database, HASH_REMOVE, nullptr);
        }
    }
}

}  // namespace

void init_database_list() {
    list.context =
        AllocSetContextCreate(TopMemoryContext, "sync_engine database list", ALLOCSET_DEFAULT_SIZES);
    HASHCTL control = {};
    control.keysize = sizeof(Oid);
    control.entrysize = sizeof(AbsentEntry);
    list.absent =
        hash_create("sync_engine databases without extension", 64, &control, HASH_ELEM | HASH_BLOBS);
}

void read_databases() {
    MemoryContextReset(list.context);
    list.count = 0;
    list.capacity = 16;
    list.entries = static_cast<Database*>(MemoryContextAlloc(list.context, list.capacity * sizeof(Database)));

    StartTransactionCommand();
    (void)GetTransactionSnapshot();
    Relation relation = table_open(DatabaseRelationId, AccessShareLock);
    TableScanDesc scan = table_beginscan_catalog(relation, 0, nullptr);
    for (HeapTuple tuple = heap_getnext(scan, ForwardScanDirection); HeapTupleIsValid(tuple);
         tuple = heap_getnext(scan, ForwardScanDirection)) {
        const auto* form = reinterpret_cast<Form_pg_database>(GETSTRUCT(tuple));
        // A connection to a template would make CREATE DATABASE fail.
        if (form->datallowconn && !form->datistemplate && form->datconnlimit != kInvalidDatabase) {
            add_database(form);
        }
    }
    table_endscan(scan);
    table_close(relation, AccessShareLock);
    CommitTransactionCommand();
    qsort(list.entries, list.count, sizeof(Database), compare_databases);
    forget_dropped();
}

int database_count() {
    return list.count;
}

const Database* database_at(int index) {
    return &list.entries[index];
}

const Database* find_database(Oid oid) {
    const Database key = {oid, {}};
    return static_cast<const Database*>(
        bsearch(&key, list.entries, list.count, sizeof(Database), compare_databases));
}

void remember_absent(Oid database, std::int64_t look_again) {
    auto* entry = static_cast<AbsentEntry*>(hash_search(list.absent, &database, HASH_ENTER, nullptr));
    entry->look_again = look_again;
}

bool known_absent(Oid database, std::int64_t now) {
    const auto* entry =
        static_cast<const AbsentEntry*>(hash_search(list.absent, &database, HASH_FIND, nullptr));
    return entry != nullptr && now < entry->look_again;
}

}  // namespace sync_engine

// Rows by their place, through the table's access method.
#include "extension/row_table.hpp"

extern "C" {
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "parser/parse_relation.h"
#include "parser/parsetree.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "rewrite/rewriteHandler.h"
#include "storage/bufmgr.h"
#include "storage/procarray.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/partcache.h"
#include "utils/snapmgr.h"
}

namespace sync_engine {
namespace {

constexpr int kBufferedRows = 128;

// Triggers of ours do not fire for what the engine itself writes, or are seen to by it. Keys that others
// refer to never change, but the rows of jobs are deleted.
bool is_harmless(const Trigger& trigger, Relation relation, bool deletes) {
    if (!trigger.tgisinternal) {
        return trigger.tgenabled == TRIGGER_DISABLED ||
               get_func_namespace(trigger.tgfoid) == RelationGetNamespace(relation);
    }
    const int key = RI_FKey_trigger_type(trigger.tgfoid);
    return key == RI_TRIGGER_FK || (key == RI_TRIGGER_PK && !deletes);
}

bool is_plain(Relation relation, bool deletes) {
    const TupleConstr* constraints = relation->rd_att->constr;
    if (relation->rd_rules != nullptr || relation->rd_rel->relforcerowsecurity ||
        (constraints != nullptr && constraints->has_generated_stored)) {
        return false;
    }
    const TriggerDesc* triggers = relation->trigdesc;
    for (int i = 0; triggers != nullptr && i < triggers->numtriggers; ++i) {
        if (!is_harmless(triggers->triggers[i], relation, deletes)) {
            return false;
        }
    }
    return true;
}

// An executor state that knows the one table, and which of its columns change.
EState* make_state(Relation relation, LOCKMODE mode, Bitmapset* changes) {
    EState* estate = CreateExecutorState();
    MemoryContext caller = MemoryContextSwitchTo(estate->es_query_cxt);
    RangeTblEntry* entry = makeNode(RangeTblEntry);
    entry->rtekind = RTE_RELATION;
    entry->relid = RelationGetRelid(relation);
    entry->relkind = relation->rd_rel->relkind;
    entry->rellockmode = mode;
#if PG_VERSION_NUM >= 160000
    List* permissions = NIL;
    addRTEPermissionInfo(&permissions, entry)->updatedCols = bms_copy(changes);
#if PG_VERSION_NUM >= 180000
    ExecInitRangeTable(estate, list_make1(entry), permissions, bms_make_singleton(1));
#else
    ExecInitRangeTable(estate, list_make1(entry), permissions);
#endif
#else
    entry->updatedCols = bms_copy(changes);
    ExecInitRangeTable(estate, list_make1(entry));
#endif
    MemoryContextSwitchTo(caller);
    return estate;
}

// Of an update that stays within its page, summarizing indexes alone hear.
void insert_into_indexes(RowTable* table, TupleTableSlot* slot, bool update,
                         [[maybe_unused]] bool only_summarizing) {
    if (!table->relation->rd_rel->relhasindex) {
        return;
    }
    if (table->info->ri_IndexRelationDescs == nullptr) {
        MemoryContext caller = MemoryContextSwitchTo(table->estate->es_query_cxt);
        ExecOpenIndices(table->info, false);
        MemoryContextSwitchTo(caller);
    }
    if (table->info->ri_NumIndices > 0) {
#if PG_VERSION_NUM >= 160000
        ExecInsertIndexTuples(table->info, slot, table->estate, update, false, nullptr, NIL,
                              only_summarizing);
#else
        ExecInsertIndexTuples(table->info, slot, table->estate, update, false, nullptr, NIL);
#endif
    }
}

void check_row(RowTable* table, TupleTableSlot* slot) {
    if (table->relation->rd_att->constr != nullptr) {
        ExecConstraints(table->info, slot, table->estate);
    }
}

void flush_rows(RowTable* table) {
    if (table->buffered == 0) {
        return;
    }
    MemoryContext caller = MemoryContextSwitchTo(row_memory(table));
    table_multi_insert(table->relation, table->slots, table->buffered, GetCurrentCommandId(true), 0, nullptr);
    MemoryContextSwitchTo(caller);
    for (int i = 0; i < table->buffered; ++i) {
        insert_into_indexes(table, table->slots[i], false, false);
        ExecClearTuple(table->slots[i]);
        ResetPerTupleExprContext(table->estate);
    }
    table->buffered = 0;
}

// The table behind a view that selects from nothing else, and locks both.
Relation open_behind_view(const char* name, LOCKMODE mode) {
    Relation view = table_open(oid_of(name), mode);
    const Query* query = get_view_query(view);
    Oid table = InvalidOid;
    ListCell* cell = nullptr;
    foreach (cell, query->jointree->fromlist) {
        const auto* reference = lfirst_node(RangeTblRef, cell);
        table = rt_fetch(reference->rtindex, query->rtable)->relid;
    }
    table_close(view, NoLock);
    return table_open(table, mode);
}

RowTable* open_relation(Relation opened, LOCKMODE mode, Bitmapset* changed) {
    EState* estate = make_state(opened, mode, changed);
    MemoryContext caller = MemoryContextSwitchTo(estate->es_query_cxt);
    auto* table = static_cast<RowTable*>(palloc0(sizeof(RowTable)));
    table->estate = estate;
    table->relation = opened;
    table->snapshot = GetActiveSnapshot();
    table->row = table_slot_create(opened, nullptr);
    if (mode >= RowExclusiveLock) {
        table->info = makeNode(ResultRelInfo);
        InitResultRelInfo(table->info, opened, 1, nullptr, 0);
        table->changed = MakeSingleTupleTableSlot(RelationGetDescr(opened), &TTSOpsVirtual);
    }
    MemoryContextSwitchTo(caller);
    return table;
}

}  // namespace

Oid oid_of(const char* name) {
    return get_relname_relid(name, get_namespace_oid("sync", false));
}

bool is_plain_table(const char* name, bool deletes) {
    Relation relation = table_open(oid_of(name), RowExclusiveLock);
    const bool plain = is_plain(relation, deletes);
    table_close(relation, NoLock);
    return plain;
}

bool is_local_history(const char* name, int columns) {
    Relation relation = table_open(oid_of(name), RowExclusiveLock);
    int live = 0;
    for (int i = 0; i < RelationGetDescr(relation)->natts; ++i) {
        live += TupleDescAttr(RelationGetDescr(relation), i)->attisdropped ? 0 : 1;
    }
    // Rows of a table that is distributed are not written past its planner.
    const bool plain =
        live == columns && is_plain(relation, false) && !OidIsValid(get_extension_oid("citus", true));
    table_close(relation, NoLock);
    return plain;
}

bool is_plain_behind_view(const char* name) {
    Relation relation = open_behind_view(name, RowExclusiveLock);
    const bool plain = is_plain(relation, false);
    table_close(relation, NoLock);
    return plain;
}

RowTable* open_partition(const char* name, Datum key, LOCKMODE mode) {
    Relation parent = table_open(oid_of(name), mode);
    PartitionKey partition_key = RelationGetPartitionKey(parent);
    PartitionDesc partitions = RelationGetPartitionDesc(parent, true);
    int index = -1;
    if (partition_key != nullptr && partition_key->strategy == PARTITION_STRATEGY_RANGE &&
        partitions->nparts > 0) {
        bool equal = false;
        const int bound = partition_range_datum_bsearch(
            partition_key->partsupfunc, partition_key->partcollation, partitions->boundinfo, 1, &key, &equal);
        index = partitions->boundinfo->indexes[bound + 1];
    }
    if (index < 0) {
        ereport(ERROR, (errcode(ERRCODE_CHECK_VIOLATION),
                        errmsg("table \"%s\" has no partition for the row", name)));
    }
    Relation partition = table_open(partitions->oids[index], mode);
    table_close(parent, NoLock);
    return open_relation(partition, mode, nullptr);
}

RowTable* open_table_behind_view(const char* name, LOCKMODE mode) {
    return open_relation(open_behind_view(name, mode), mode, nullptr);
}

RowTable* open_table(const char* name, LOCKMODE mode, const char* const* changes, int change_count) {
    Relation opened = table_open(oid_of(name), mode);
    Bitmapset* changed = nullptr;
    for (int i = 0; i < change_count; ++i) {
        changed = bms_add_member(
            changed, SPI_fnumber(RelationGetDescr(opened), changes[i]) - FirstLowInvalidHeapAttributeNumber);
    }
    return open_relation(opened, mode, changed);
}

void close_table(RowTable* table) {
    flush_rows(table);
    if (table->key_scan != nullptr) {
        index_endscan(table->key_scan);
        index_close(table->key_index, NoLock);
    }
    ExecDropSingleTupleTableSlot(table->row);
    for (int i = 0; i < table->created; ++i) {
        ExecDropSingleTupleTableSlot(table->slots[i]);
    }
    if (table->info != nullptr) {
        ExecDropSingleTupleTableSlot(table->changed);
        ExecCloseIndices(table->info);
    }
    table_close(table->relation, NoLock);
    FreeExecutorState(table->estate);
}

AttrNumber column_of(const RowTable* table, const char* name) {
    const int number = SPI_fnumber(RelationGetDescr(table->relation), name);
    if (number <= 0) {
        ereport(ERROR,
                (errcode(ERRCODE_UNDEFINED_COLUMN), errmsg("column \"%s\" of table \"%s\" does not exist",
                                                           name, RelationGetRelationName(table->relation))));
    }
    return static_cast<AttrNumber>(number);
}

MemoryContext row_memory(RowTable* table) {
    return GetPerTupleMemoryContext(table->estate);
}

bool fetch_row(RowTable* table, ItemPointer place) {
    return table_tuple_fetch_row_version(table->relation, place, table->snapshot, table->row);
}

bool find_row(RowTable* table, RegProcedure equal, Datum key) {
    // The scan keeps what it allocates on its way.
    MemoryContext caller = MemoryContextSwitchTo(table->estate->es_query_cxt);
    if (table->key_scan == nullptr) {
        table->key_index = index_open(primary_key_index(table->relation), AccessShareLock);
        table->key_scan = begin_index_scan(table->relation, table->key_index, table->snapshot, 1);
    }
    ScanKeyData scan_key;
    ScanKeyEntryInitialize(&scan_key, 0, 1, BTEqualStrategyNumber, InvalidOid,
                           table->key_index->rd_indcollation[0], equal, key);
    index_rescan(table->key_scan, &scan_key, 1, nullptr, 0);
    const bool found = index_getnext_slot(table->key_scan, ForwardScanDirection, table->row);
    MemoryContextSwitchTo(caller);
    return found;
}

bool find_row_near(RowTable* table, const ItemPointerData& place, AttrNumber column, int64 key) {
    if (table->blocks == 0) {
        table->blocks = RelationGetNumberOfBlocks(table->relation);
    }
    ItemPointerData there = place;
    bool null = true;
    if (ItemPointerGetBlockNumberNoCheck(&there) < table->blocks &&
        ItemPointerGetOffsetNumberNoCheck(&there) != InvalidOffsetNumber && fetch_row(table, &there) &&
        DatumGetInt64(get_column(table, column, &null)) == key && !null) {
        return true;
    }
    return find_row(table, F_INT8EQ, Int64GetDatum(key));
}

bool is_taken(const RowTable* table) {
    const HeapTuple tuple = ExecFetchSlotHeapTuple(table->row, false, nullptr);
    const uint16 flags = tuple->t_data->t_infomask;
    if ((flags & (HEAP_XMAX_INVALID | HEAP_XMAX_IS_MULTI)) != 0) {
        return false;
    }
    const TransactionId other = HeapTupleHeaderGetRawXmax(tuple->t_data);
    if (TransactionIdIsCurrentTransactionId(other)) {
        return false;
    }
    return TransactionIdIsInProgress(other) ||
           (!HEAP_XMAX_IS_LOCKED_ONLY(flags) && TransactionIdDidCommit(other));
}

void report_conflict(const RowTable* table) {
    ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
                    errmsg("could not serialize access due to concurrent update"),
                    errdetail("A row of table \"%s\" was changed meanwhile.",
                              RelationGetRelationName(table->relation))));
}

bool lock_row(RowTable* table, LockTupleMode mode, bool wait, bool follow) {
    TM_FailureData failure;
    ItemPointerData place = table->row->tts_tid;
    const TM_Result result = table_tuple_lock(
        table->relation, &place, table->snapshot, table->row, GetCurrentCommandId(true), mode,
        wait ? LockWaitBlock : LockWaitSkip, follow ? TUPLE_LOCK_FLAG_FIND_LAST_VERSION : 0, &failure);
    if (wait && IsolationUsesXactSnapshot() &&
        (result == TM_Updated || (result == TM_Ok && failure.traversed))) {
        report_conflict(table);
    }
    return result == TM_Ok;
}

void begin_change(RowTable* table) {
    slot_getallattrs(table->row);
    ExecClearTuple(table->changed);
    const auto columns = static_cast<Size>(RelationGetDescr(table->relation)->natts);
    memcpy(table->changed->tts_values, table->row->tts_values, columns * sizeof(Datum));
    memcpy(table->changed->tts_isnull, table->row->tts_isnull, columns * sizeof(bool));
    ExecStoreVirtualTuple(table->changed);
}

bool change_row(RowTable* table, bool wait) {
    CheckCmdReplicaIdentity(table->relation, CMD_UPDATE);
    check_row(table, table->changed);
    TM_FailureData failure;
    LockTupleMode lock_mode;
#if PG_VERSION_NUM >= 160000
    TU_UpdateIndexes update_indexes = TU_None;
#else
    bool update_indexes = false;
#endif
    ItemPointerData place = table->row->tts_tid;
    const TM_Result result =
        table_tuple_update(table->relation, &place, table->changed, GetCurrentCommandId(true),
                           table->snapshot, InvalidSnapshot, wait, &failure, &lock_mode, &update_indexes);
    if (result != TM_Ok) {
        return false;
    }
#if PG_VERSION_NUM >= 160000
    if (update_indexes != TU_None) {
        insert_into_indexes(table, table->changed, true, update_indexes == TU_Summarizing);
    }
#else
    if (update_indexes) {
        insert_into_indexes(table, table->changed, true, false);
    }
#endif
    ResetPerTupleExprContext(table->estate);
    return true;
}

void delete_row(RowTable* table, bool wait) {
    CheckCmdReplicaIdentity(table->relation, CMD_DELETE);
    TM_FailureData failure;
    ItemPointerData place = table->row->tts_tid;
    const TM_Result result = table_tuple_delete(table->relation, &place, GetCurrentCommandId(true),
                                                table->snapshot, InvalidSnapshot, wait, &failure, false);
    if (result != TM_Ok) {
        report_conflict(table);
    }
}

TupleTableSlot* new_row(RowTable* table) {
    if (table->slots == nullptr) {
        table->slots = static_cast<TupleTableSlot**>(
            MemoryContextAllocZero(table->estate->es_query_cxt, sizeof(TupleTableSlot*) * kBufferedRows));
    }
    if (table->buffered == kBufferedRows) {
        flush_rows(table);
    }
    if (table->buffered == table->created) {
        MemoryContext caller = MemoryContextSwitchTo(table->estate->es_query_cxt);
        table->slots[table->created++] = table_slot_create(table->relation, nullptr);
        MemoryContextSwitchTo(caller);
    }
    return ExecClearTuple(table->slots[table->buffered]);
}

void add_row(RowTable* table, TupleTableSlot* slot) {
    ExecStoreVirtualTuple(slot);
    check_row(table, slot);
    ExecMaterializeSlot(slot);
    slot->tts_tableOid = RelationGetRelid(table->relation);
    ++table->buffered;
    ResetPerTupleExprContext(table->estate);
}

}  // namespace sync_engine

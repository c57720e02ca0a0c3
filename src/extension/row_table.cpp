// Rows by their place, through the table's access method.
#include "extension/row_table.hpp"

extern "C" {
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "catalog/namespace.h"
#include "parser/parse_relation.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteHandler.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
}

namespace sync_engine {
namespace {

constexpr int kBufferedRows = 128;

// Triggers of ours do not fire for what the engine itself writes, and foreign keys rest on columns that it
// never changes.
bool needs_statements(Relation relation) {
    if (relation->rd_rules != nullptr ||
        (relation->rd_att->constr != nullptr && relation->rd_att->constr->has_generated_stored)) {
        return true;
    }
    const TriggerDesc* triggers = relation->trigdesc;
    for (int i = 0; triggers != nullptr && i < triggers->numtriggers; ++i) {
        const Trigger& trigger = triggers->triggers[i];
        if (!trigger.tgisinternal && trigger.tgenabled != TRIGGER_DISABLED &&
            get_func_namespace(trigger.tgfoid) != RelationGetNamespace(relation)) {
            return true;
        }
    }
    return false;
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

// Runs a statement whose parameters are the place of the row and the columns of `slot`; either may be left
// out.
void run_statement(RowTable* table, const char* statement, TupleTableSlot* slot) {
    TupleDesc descriptor = RelationGetDescr(table->relation);
    const int columns = slot == nullptr ? 0 : descriptor->natts;
    const auto size = static_cast<Size>(columns) + 1;
    auto* types = static_cast<Oid*>(palloc(sizeof(Oid) * size));
    auto* values = static_cast<Datum*>(palloc(sizeof(Datum) * size));
    auto* nulls = static_cast<char*>(palloc(size));
    types[0] = TIDOID;
    values[0] = PointerGetDatum(&table->row->tts_tid);
    nulls[0] = ' ';
    for (int i = 0; i < columns; ++i) {
        const Form_pg_attribute attribute = TupleDescAttr(descriptor, i);
        types[i + 1] = attribute->attisdropped ? INT4OID : attribute->atttypid;
        values[i + 1] = slot->tts_values[i];
        nulls[i + 1] = slot->tts_isnull[i] || attribute->attisdropped ? 'n' : ' ';
    }
    SPI_connect();
    const int code = SPI_execute_with_args(statement, columns + 1, types, values, nulls, false, 0);
    if (code < 0) {
        elog(ERROR, "statement \"%s\" failed: %s", statement, SPI_result_code_string(code));
    }
    SPI_finish();
}

const char* qualified_name(Relation relation) {
    return quote_qualified_identifier(get_namespace_name(RelationGetNamespace(relation)),
                                      RelationGetRelationName(relation));
}

// Columns that a statement may write, each by `format` with its name and parameter.
void append_columns(StringInfo text, Relation relation, bool names, bool parameters) {
    TupleDesc descriptor = RelationGetDescr(relation);
    const char* separator = "";
    for (int i = 0; i < descriptor->natts; ++i) {
        const Form_pg_attribute attribute = TupleDescAttr(descriptor, i);
        if (attribute->attisdropped || attribute->attgenerated != '\0') {
            continue;
        }
        appendStringInfoString(text, separator);
        if (names) {
            appendStringInfoString(text, quote_identifier(NameStr(attribute->attname)));
        }
        if (parameters) {
            appendStringInfo(text, "%s$%d", names ? " = " : "", i + 2);
        }
        separator = ", ";
    }
}

void update_by_statement(RowTable* table) {
    StringInfoData text;
    initStringInfo(&text);
    // Only what differs, so that triggers on other columns do not fire.
    TupleDesc descriptor = RelationGetDescr(table->relation);
    slot_getallattrs(table->row);
    appendStringInfo(&text, "UPDATE ONLY %s SET ", qualified_name(table->relation));
    const char* separator = "";
    for (int i = 0; i < descriptor->natts; ++i) {
        const Form_pg_attribute attribute = TupleDescAttr(descriptor, i);
        const bool same_null = table->changed->tts_isnull[i] == table->row->tts_isnull[i];
        if (same_null &&
            (table->changed->tts_isnull[i] || table->changed->tts_values[i] == table->row->tts_values[i])) {
            continue;
        }
        appendStringInfo(&text, "%s%s = $%d", separator, quote_identifier(NameStr(attribute->attname)),
                         i + 2);
        separator = ", ";
    }
    if (separator[0] != '\0') {
        appendStringInfoString(&text, " WHERE ctid = $1");
        run_statement(table, text.data, table->changed);
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

Oid oid_of(const char* name) {
    return get_relname_relid(name, get_namespace_oid("sync", false));
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
        CheckCmdReplicaIdentity(opened, CMD_UPDATE);
        table->changed = MakeSingleTupleTableSlot(RelationGetDescr(opened), &TTSOpsVirtual);
        table->by_statement = needs_statements(opened);
    }
    MemoryContextSwitchTo(caller);
    return table;
}

}  // namespace

RowTable* open_table_of_view(const char* name, LOCKMODE mode) {
    Relation view = table_open(oid_of(name), mode);
    const Query* query = get_view_query(view);
    Oid table = InvalidOid;
    ListCell* cell = nullptr;
    foreach (cell, query->jointree->fromlist) {
        const auto* reference = lfirst_node(RangeTblRef, cell);
        table = rt_fetch(reference->rtindex, query->rtable)->relid;
    }
    RowTable* opened = open_relation(table_open(table, mode), mode, nullptr);
    table_close(view, NoLock);
    return opened;
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
        table->key_index = index_open(RelationGetPrimaryKeyIndex(table->relation), AccessShareLock);
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

void report_conflict(const RowTable* table) {
    ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
                    errmsg("could not serialize access due to concurrent update"),
                    errdetail("A row of table \"%s\" was changed meanwhile.",
                              RelationGetRelationName(table->relation))));
}

bool lock_row(RowTable* table, bool wait, bool follow) {
    TM_FailureData failure;
    ItemPointerData place = table->row->tts_tid;
    const TM_Result result =
        table_tuple_lock(table->relation, &place, table->snapshot, table->row, GetCurrentCommandId(true),
                         LockTupleNoKeyExclusive, wait ? LockWaitBlock : LockWaitSkip,
                         follow ? TUPLE_LOCK_FLAG_FIND_LAST_VERSION : 0, &failure);
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
    if (table->by_statement) {
        if (!lock_row(table, wait, false)) {
            return false;
        }
        update_by_statement(table);
        return true;
    }
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

void delete_row(RowTable* table) {
    if (table->by_statement) {
        run_statement(table, psprintf("DELETE FROM ONLY %s WHERE ctid = $1", qualified_name(table->relation)),
                      nullptr);
        return;
    }
    TM_FailureData failure;
    ItemPointerData place = table->row->tts_tid;
    const TM_Result result = table_tuple_delete(table->relation, &place, GetCurrentCommandId(true),
                                                table->snapshot, InvalidSnapshot, true, &failure, false);
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
    if (table->by_statement) {
        StringInfoData text;
        initStringInfo(&text);
        appendStringInfo(&text, "INSERT INTO %s (", qualified_name(table->relation));
        append_columns(&text, table->relation, true, false);
        appendStringInfoString(&text, ") VALUES (");
        append_columns(&text, table->relation, false, true);
        appendStringInfoString(&text, ")");
        run_statement(table, text.data, slot);
        return;
    }
    check_row(table, slot);
    ExecMaterializeSlot(slot);
    slot->tts_tableOid = RelationGetRelid(table->relation);
    ++table->buffered;
    ResetPerTupleExprContext(table->estate);
}

}  // namespace sync_engine

// A table whose rows a function reads and writes by their place: what a plan of UPDATE, DELETE and INSERT
// would do, less what the planner and the executor take for it. Constraints and indexes are kept. What an
// application may have put on a table beside them (triggers, rules, generated columns, foreign keys that
// refer to jobs) is not seen to: such a table is not plain, and has to be written by statements. Everything
// is palloc'd in the table's own executor state; an error leaves it to the end of the transaction.
#pragma once

#include "extension/compat.hpp"

extern "C" {
#include "access/relscan.h"
#include "access/tableam.h"
#include "nodes/execnodes.h"
#include "utils/rel.h"
}

namespace sync_engine {

struct RowTable {
    EState* estate;
    ResultRelInfo* info;
    Relation relation;
    Snapshot snapshot;
    TupleTableSlot* row;      // what was read last
    TupleTableSlot* changed;  // what is written next
    BlockNumber blocks;       // of find_row_near: how long the table is, 0 until asked
    // Of find_row.
    Relation key_index;
    IndexScanDesc key_scan;
    // Rows on their way in, `buffered` of `slots`.
    TupleTableSlot** slots;
    int buffered;
    int created;
};

// A table of the engine's schema, until close_table. `changes`: the columns that change_row will write, which
// decides what indexes expect.
RowTable* open_table(const char* name, LOCKMODE mode, const char* const* changes = nullptr,
                     int change_count = 0);

// The table that a view of the engine's schema, which selects from nothing else, stands for. Takes the locks
// that writing through the view would.
RowTable* open_table_behind_view(const char* name, LOCKMODE mode);

// The partition of a table of the engine's schema, partitioned by ranges of one column, that takes rows with
// that key. Locks both.
RowTable* open_partition(const char* name, Datum key, LOCKMODE mode);

// A relation of the engine's schema; invalid where there is none.
Oid oid_of(const char* name);

// Whether the table may be written so; `deletes`: its rows are deleted, too. Locks it as a writer does, so
// that the answer holds.
bool is_plain_table(const char* name, bool deletes);
bool is_plain_behind_view(const char* name);
// The same of a partitioned table, whose partitions only the engine makes, with so many columns: more of them
// have defaults that are not known here.
bool is_local_history(const char* name, int columns);

// Writes what is buffered and closes it; locks stay until the transaction ends.
void close_table(RowTable* table);

// The number of a column, which must be there.
AttrNumber column_of(const RowTable* table, const char* name);

// Memory until the next row is written.
MemoryContext row_memory(RowTable* table);

// The row at that place, if the snapshot sees it, into table->row.
bool fetch_row(RowTable* table, ItemPointer place);

// The row whose primary key, of one column, is that, if the snapshot sees it, into table->row.
bool find_row(RowTable* table, RegProcedure equal, Datum key);

// The same where it probably lies at that place, which may be any; `column` is the key's, of type bigint.
bool find_row_near(RowTable* table, const ItemPointerData& place, AttrNumber column, int64 key);

inline Datum get_column(const RowTable* table, AttrNumber column, bool* null) {
    return slot_getattr(table->row, column, null);
}

// Whether another transaction has locked, changed or deleted table->row, as far as a look without a lock can
// tell.
bool is_taken(const RowTable* table);

// Locks the row that table->row holds and reads it again: its newest version if `follow`. False if it is
// gone, has moved, or, without `wait`, somebody else has it locked. One that waits raises 40001 where the
// transaction's snapshot is older than the row.
bool lock_row(RowTable* table, LockTupleMode mode, bool wait, bool follow);

// Makes table->changed a copy of table->row.
void begin_change(RowTable* table);

inline void set_column(RowTable* table, AttrNumber column, Datum value, bool null = false) {
    table->changed->tts_values[column - 1] = value;
    table->changed->tts_isnull[column - 1] = null;
}

// Replaces table->row by table->changed. False if another transaction has changed or deleted it, or, without
// `wait`, has locked it: then nothing was written.
bool change_row(RowTable* table, bool wait);

// Raises 40001: a row that this transaction had locked, or meant to have, was changed by another.
[[noreturn]] void report_conflict(const RowTable* table);

// Deletes table->row. Raises 40001 if another transaction has changed or deleted it, or, without `wait`, has
// locked it.
void delete_row(RowTable* table, bool wait);

// A row to be filled in (tts_values, tts_isnull) and then given to add_row; it reaches the table at the
// latest with close_table.
TupleTableSlot* new_row(RowTable* table);
void add_row(RowTable* table, TupleTableSlot* slot);

}  // namespace sync_engine

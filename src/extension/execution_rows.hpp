// Rows of the execution history, written into their partition.
#pragma once

#include "extension/compat.hpp"
#include "extension/row_table.hpp"

extern "C" {
#include "datatype/timestamp.h"
}

namespace sync_engine {

// Of sync_executions; retry_after stays null.
inline constexpr int kExecutionColumns = 31;

// Columns that are called the same in sync_jobs.
inline constexpr int kCopiedColumns = 11;

struct ExecutionRows {
    RowTable* table;
    TimestampTz finished_at;
    Oid ids;  // the sequence
    struct {
        AttrNumber from[kCopiedColumns], to[kCopiedColumns];
        AttrNumber job_id, job_attempts, job_page, job_claimed_at, job_trigger_type;
    } job;
    AttrNumber id, job_id, attempt, status, job_status, ended_by, kind, started_at, finished, duration_ms,
        signals_received, signals_inserted, signals_duplicate, next_cursor, has_more, error, stats,
        trigger_type, cursor_before;
};

// What is not in the job's row.
struct Attempt {
    bool failed;  // for good
    bool more;
    int32 received;
    int32 inserted;
    NullableDatum cursor_before;
    NullableDatum cursor;
    NullableDatum stats;
    NullableDatum error;
};

// The partition of that time, which there must be; until close_table(rows.table).
ExecutionRows open_executions(const RowTable* jobs, TimestampTz finished_at);

// Adds the attempt of the job in jobs->row, that a completion ended.
void add_execution(const ExecutionRows& rows, const RowTable* jobs, const Attempt& attempt);

}  // namespace sync_engine

// One running job that succeeded, or failed for good: it leaves the queue for the table of finished ones, its
// connection gets its cursor and next run and is free again, and history tells of the attempt.
#pragma once

#include "extension/execution_rows.hpp"
#include "extension/job_functions.hpp"

namespace sync_engine {

struct JobColumns {
    AttrNumber id, tenant_id, provider_slug, connection_id, job_type, status, claimed_at, claim_token,
        rerun_priority, signals_inserted, signals_duplicate, cursor;
};

// In the table of finished jobs.
struct FinishedColumns {
    AttrNumber status, finished_at, error, error_kind, signals_inserted, signals_duplicate;
    AttrNumber* from;  // for each column the one of sync_jobs that it takes
    int count;
};

struct EndCounts;

// What jobs that end together share, between start_end and finish_end.
struct End {
    RowTable* jobs;
    RowTable* finished;
    RowTable* connections;
    RowTable* states;
    ExecutionRows executions;
    JobColumns job;
    FinishedColumns done;
    AttrNumber connection_status, metadata, last_finished, of_connection, has_schedules;
    AttrNumber running_job_id, due_at, state_connection;
    EndCounts* counts;
    MemoryContext memory;
    TimestampTz as_of;
    // Whether the caller has locked connections and jobs. If not, nobody is waited for: what another session
    // has, or has changed since the snapshot, raises 40001.
    bool locked;
};

// How a job came out.
struct Given {
    int32 received, inserted;  // with its last signals
    bool more;
    NullableDatum cursor, stats;
    NullableDatum error;  // failed for good
};

// What is known of the job at hand.
struct Ending {
    bool incremental;
    bool failed;
    bool goes_on;
    bool active;
    bool again;      // a trigger came meanwhile
    bool scheduled;  // schedules say when the next run is, not the interval
    int32 base_seconds;
    int32 received;
    int32 inserted;
};

End start_end(TimestampTz as_of, bool locked);
void finish_end(const End& end);

// Of the job in end.jobs and its connection in end.connections.
Ending read_ending(const End& end, const Given& given);
void write_ending(End* end, const Given& given, const Ending& job);

}  // namespace sync_engine

// What claims read of tenants' lanes: the index sync_jobs_lanes, and whether a job that was found there could
// begin. Everything is palloc'd; an error leaves it to the end of the transaction.
#pragma once

#include "extension/job_functions.hpp"
#include "extension/row_table.hpp"

namespace sync_engine {

// Columns of the index: (provider_slug, priority DESC, tenant_id, due, id).
constexpr AttrNumber kProvider = 1;
constexpr AttrNumber kPriority = 2;
constexpr AttrNumber kTenant = 3;
constexpr AttrNumber kDue = 4;
constexpr AttrNumber kId = 5;

struct Lanes {
    Relation jobs;
    Relation index;
    TupleTableSlot* row;
    AttrNumber id;
    AttrNumber connection_id;
    AttrNumber scheduled_at;
    AttrNumber retry_after;
};

Lanes open_lanes();
void close_lanes(const Lanes& lanes);

// Of the job in lanes.row; raises where the column is null.
Datum value_of(const Lanes& lanes, AttrNumber column);
TimestampTz due_of(const Lanes& lanes);

// A condition on a column of the index.
void set_key(const Lanes& lanes, ScanKey key, AttrNumber column, StrategyNumber strategy,
             RegProcedure function, Datum value);

// Which connections may run a job: those that are active and run none.
struct Connections {
    RowTable* states;
    RowTable* rows;
    AttrNumber running_job_id;
    AttrNumber status;
};

Connections open_connections();
void close_connections(const Connections& connections);
bool may_run(const Connections& connections, int64 id);

// Jobs that the claim has met before, by their places, sorted.
struct Passed {
    ItemPointerData* places;
    int count;
};

Passed passed_of(FunctionCallInfo fcinfo, int argument);
bool has_place(const Passed& passed, const ItemPointerData& place);

}  // namespace sync_engine

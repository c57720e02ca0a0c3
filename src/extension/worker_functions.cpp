// SQL functions by which the engine's SQL talks to the launcher, the workers and waiting executors.
#include "extension/boundary.hpp"
#include "extension/deferred.hpp"
#include "extension/records.hpp"
#include "extension/shared_state.hpp"

extern "C" {
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/snapmgr.h"
#include "utils/wait_event.h"
}

namespace sync_engine {

namespace {

constexpr int kMaxWaitMs = 3600 * 1000;

bool is_atomic_call(FunctionCallInfo fcinfo) {
    return fcinfo->context == nullptr || !IsA(fcinfo->context, CallContext) ||
           castNode(CallContext, fcinfo->context)->atomic;
}

// Ends the transaction that CALL began: its snapshot and its locks go with it.
void commit_caller() {
    if (SPI_connect_ext(SPI_OPT_NONATOMIC) != SPI_OK_CONNECT) {
        elog(ERROR, "could not connect to SPI");
    }
    SPI_commit();
    // Done by SPI_commit itself in all but early minor releases.
    SPI_start_transaction();
    SPI_finish();
    // Otherwise the catalog's own snapshot would hold back vacuum as long as this waits.
    InvalidateCatalogSnapshot();
}

void wait_for_generation(WorkChannel* channel, std::uint64_t seen, std::int64_t deadline) {
    static std::uint32_t event = 0;
    wait_event(&event, "SyncEngineWaitForWork");
    ConditionVariablePrepareToSleep(&channel->changed);
    // Unequal rather than greater: a generation from before a restart is also news.
    while (pg_atomic_read_u64(&channel->generation) == seen) {
        const std::int64_t rest = deadline - monotonic_ms();
        if (rest <= 0) {
            break;
        }
        ConditionVariableTimedSleep(&channel->changed, static_cast<long>(rest), event);
    }
    ConditionVariableCancelSleep();
}

void wait_for_time(std::int64_t deadline) {
    static std::uint32_t event = 0;
    wait_event(&event, "SyncEngineWaitForWork");
    for (std::int64_t rest = deadline - monotonic_ms(); rest > 0; rest = deadline - monotonic_ms()) {
        WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, static_cast<long>(rest), event);
        ResetLatch(MyLatch);
        CHECK_FOR_INTERRUPTS();
    }
}

}  // namespace

}  // namespace sync_engine

using namespace sync_engine;

SYNC_ENGINE_FUNCTION(wake_launcher) {
    defer_recheck();
    PG_RETURN_VOID();
}

SYNC_ENGINE_FUNCTION(wake_executors) {
    defer_executor_wake();
    PG_RETURN_VOID();
}

SYNC_ENGINE_FUNCTION(wait_for_work) {
    if (is_atomic_call(fcinfo)) {
        ereport(ERROR, (errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
                        errmsg("sync.wait_for_work cannot run inside a transaction block"),
                        errhint("Call it as a statement of its own, outside of BEGIN and of functions.")));
    }
    const int max_ms = PG_ARGISNULL(0) ? -1 : PG_GETARG_INT32(0);
    if (max_ms < 0 || max_ms > kMaxWaitMs) {
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("max_ms must be between 0 and %d", kMaxWaitMs)));
    }
    const std::int64_t deadline = monotonic_ms() + max_ms;
    WorkChannel* channel = shared_state() != nullptr ? channel_of(MyDatabaseId) : nullptr;
    std::uint64_t seen = 0;
    if (channel != nullptr) {
        seen = PG_ARGISNULL(1) ? pg_atomic_read_u64(&channel->generation)
                               : static_cast<std::uint64_t>(PG_GETARG_INT64(1));
    }
    TupleDesc descriptor = cached_result_type(fcinfo);
    commit_caller();

    Datum value = 0;
    bool null = true;
    if (channel != nullptr) {
        wait_for_generation(channel, seen, deadline);
        value = Int64GetDatum(static_cast<std::int64_t>(pg_atomic_read_u64(&channel->generation)));
        null = false;
    } else {
        wait_for_time(deadline);
    }
    PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(descriptor, &value, &null)));
}

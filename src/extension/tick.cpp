// Transactions of the worker, through SPI.
#include "extension/tick.hpp"

#include "extension/shared_state.hpp"
#include "extension/worker.hpp"

extern "C" {
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/lmgr.h"
#include "tcop/tcopprot.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timeout.h"
}

namespace sync_engine {

namespace {

constexpr int kStatementTimeoutMs = 60 * 1000;
constexpr const char* kLockTimeout = "500ms";
constexpr const char* kChangesChannel = "sync_engine_changes";

struct Extension {
    Oid oid;
    Oid owner;
};

// Reads the catalog as it is now, not as a snapshot of this transaction shows it.
Extension find_extension() {
    Extension found = {InvalidOid, InvalidOid};
    Relation relation = table_open(ExtensionRelationId, AccessShareLock);
    ScanKeyData key;
    ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ,
                CStringGetDatum(kExtensionName));
    SysScanDesc scan = systable_beginscan(relation, ExtensionNameIndexId, true, nullptr, 1, &key);
    HeapTuple tuple = systable_getnext(scan);
    if (HeapTupleIsValid(tuple)) {
        const auto* form = reinterpret_cast<Form_pg_extension>(GETSTRUCT(tuple));
        found = {form->oid, form->extowner};
    }
    systable_endscan(scan);
    table_close(relation, AccessShareLock);
    return found;
}

bool try_lock_object(Oid class_id, Oid object) {
    LOCKTAG tag;
    SET_LOCKTAG_OBJECT(tag, MyDatabaseId, class_id, object, 0);
    if (LockAcquire(&tag, AccessShareLock, false, true) == LOCKACQUIRE_NOT_AVAIL) {
        return false;
    }
    AcceptInvalidationMessages();
    return true;
}

// Holds the extension in place until the transaction ends. Never waits: a DROP EXTENSION that waited for this
// transaction in turn would be a deadlock.
StepResult pin_extension(Extension* extension) {
    *extension = find_extension();
    if (!OidIsValid(extension->oid)) {
        return StepResult::extension_gone;
    }
    if (!try_lock_object(ExtensionRelationId, extension->oid)) {
        return StepResult::extension_busy;
    }
    // It may have gone, and come again as another one, before the lock was there.
    const Extension now = find_extension();
    if (now.oid != extension->oid) {
        return OidIsValid(now.oid) ? StepResult::extension_busy : StepResult::extension_gone;
    }
    *extension = now;
    return StepResult::done;
}

using Body = void (*)(void* argument);

// The body's statements, as the owner of the extension: whatever a table's trigger does, it does not do it as
// a superuser just because the worker is one.
void run_as_owner(Oid owner, Body body, void* argument) {
    Oid caller = InvalidOid;
    int caller_context = 0;
    GetUserIdAndSecContext(&caller, &caller_context);
    SetUserIdAndSecContext(owner, caller_context | SECURITY_LOCAL_USERID_CHANGE);
    if (SPI_connect() != SPI_OK_CONNECT) {
        elog(ERROR, "could not connect to SPI");
    }
    PushActiveSnapshot(GetTransactionSnapshot());
    body(argument);
    SPI_finish();
    PopActiveSnapshot();
    SetUserIdAndSecContext(caller, caller_context);
}

// `body` null: only look whether the extension is there. A transaction of its own, under a timeout of its
// own: the server arms those for clients only.
StepResult run_step(const char* activity, Body body, void* argument) {
    MemoryContext caller = CurrentMemoryContext;
    SetCurrentStatementStartTimestamp();
    StartTransactionCommand();
    debug_query_string = activity;
    pgstat_report_activity(STATE_RUNNING, activity);
    enable_timeout_after(STATEMENT_TIMEOUT, kStatementTimeoutMs);
    Extension extension = {InvalidOid, InvalidOid};
    const StepResult result = pin_extension(&extension);
    if (result == StepResult::done && body != nullptr) {
        run_as_owner(extension.owner, body, argument);
    }
    disable_timeout(STATEMENT_TIMEOUT, false);
    CommitTransactionCommand();
    MemoryContextSwitchTo(caller);
    debug_query_string = nullptr;
    // Without it autovacuum would never hear of the rows that were written.
    pgstat_report_stat(true);
    pgstat_report_activity(STATE_IDLE, nullptr);
    return result;
}

void execute(const char* query) {
    const int code = SPI_execute(query, false, 0);
    if (code != SPI_OK_SELECT || SPI_processed != 1) {
        elog(ERROR, "query \"%s\" returned " UINT64_FORMAT " rows (%s)", query,
             static_cast<uint64>(SPI_processed), SPI_result_code_string(code));
    }
}

std::int64_t result_int(int column) {
    bool null = true;
    const Datum value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, &null);
    return null ? 0 : DatumGetInt64(value);
}

bool result_bool(int column) {
    bool null = true;
    const Datum value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, &null);
    return !null && DatumGetBool(value);
}

constexpr const char* kTickQuery =
    "SELECT enqueued::pg_catalog.int8, skipped::pg_catalog.int8, requeued::pg_catalog.int8, "
    "backlog::pg_catalog.int8, more FROM sync.tick_batch()";

// The extension's SQL may be older than the library.
constexpr const char* kHasSchedules = "SELECT pg_catalog.to_regproc('sync._ms_until_look') IS NOT NULL";

void tick_body(void* argument) {
    auto* batch = static_cast<TickBatch*>(argument);
    batch->look_in_ms = -1;
    execute("SELECT sync._is_quiet()");
    batch->quiet = result_bool(1);
    if (batch->quiet) {
        return;
    }
    execute(kTickQuery);
    batch->enqueued = result_int(1);
    batch->skipped = result_int(2);
    batch->requeued = result_int(3);
    batch->backlog = result_int(4);
    batch->more = result_bool(5);
    execute(kHasSchedules);
    if (result_bool(1)) {
        execute("SELECT COALESCE(sync._ms_until_look(pg_catalog.now()), -1)");
        batch->look_in_ms = result_int(1);
    }
}

void notify_body(void* argument) {
    // A hint, which need not outlast a crash.
    set_config_option("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0,
                      false);
    Async_Notify(kChangesChannel, static_cast<const char*>(argument));
}

void housekeeping_body(void* argument) {
    auto* more = static_cast<bool*>(argument);
    execute("SELECT sync._is_quiet()");
    if (result_bool(1)) {
        return;
    }
    execute("SELECT sync._housekeeping()");
    *more = result_bool(1);
}

}  // namespace

void prepare_worker_session() {
    struct Setting {
        const char* name;
        const char* value;
    };
    static constexpr Setting kSettings[] = {
        {"application_name", kWorkerType},
        {"search_path", "pg_catalog, pg_temp"},
        {"default_transaction_isolation", "read committed"},
        {"default_transaction_read_only", "off"},
        {"default_transaction_deferrable", "off"},
        {"lock_timeout", kLockTimeout},
        {"idle_in_transaction_session_timeout", "0"},
        {"jit", "off"},
        {"max_parallel_workers_per_gather", "0"},
#if PG_VERSION_NUM >= 170000
        {"transaction_timeout", "0"},
#endif
    };
    for (const Setting& setting : kSettings) {
        SetConfigOption(setting.name, setting.value, PGC_SUSET, PGC_S_OVERRIDE);
    }
    if (synchronous_commit > SYNCHRONOUS_COMMIT_LOCAL_FLUSH) {
        // A standby that does not answer must not keep the worker from stopping. What a failover loses of a
        // tick, the next one finds due again; a job that was claimed is safe by the claim's own commit.
        SetConfigOption("synchronous_commit", "local", PGC_SUSET, PGC_S_OVERRIDE);
    }
}

bool read_database_name(NameData* name) {
    bool usable = false;
    StartTransactionCommand();
    HeapTuple tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(MyDatabaseId));
    if (HeapTupleIsValid(tuple)) {
        const auto* form = reinterpret_cast<Form_pg_database>(GETSTRUCT(tuple));
        *name = form->datname;
        usable = !form->datistemplate;
        ReleaseSysCache(tuple);
    }
    CommitTransactionCommand();
    return usable;
}

StepResult probe_extension() {
    return run_step("looking for the extension", nullptr, nullptr);
}

StepResult run_tick_batch(TickBatch* batch) {
    *batch = {};
    return run_step("sync_engine tick", tick_body, batch);
}

StepResult notify_changes(const char* payload) {
    const StepResult result = run_step("sync_engine changes", notify_body, const_cast<char*>(payload));
    send_notifications();
    return result;
}

StepResult run_housekeeping(bool* more) {
    *more = false;
    return run_step("sync_engine housekeeping", housekeeping_body, more);
}

}  // namespace sync_engine

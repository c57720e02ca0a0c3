// Registration of the launcher and of the workers with the server.
#include "extension/processes.hpp"

#include "extension/shared_state.hpp"
#include "extension/worker.hpp"

extern "C" {
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "utils/memutils.h"
}

namespace sync_engine {

namespace {

BackgroundWorkerHandle** handles = nullptr;  // one a slot, null: none

BackgroundWorker describe(const char* type, const char* function) {
    BackgroundWorker process = {};
    strlcpy(process.bgw_name, type, BGW_MAXLEN);
    strlcpy(process.bgw_type, type, BGW_MAXLEN);
    process.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
    // Never on a standby, and on one that is promoted at once.
    process.bgw_start_time = BgWorkerStart_RecoveryFinished;
    strlcpy(process.bgw_library_name, kExtensionName, BGW_MAXLEN);
    strlcpy(process.bgw_function_name, function, BGW_MAXLEN);
    return process;
}

}  // namespace

void register_launcher_process(const char* type, int restart_seconds) {
    BackgroundWorker process = describe(type, "sync_engine_launcher_main");
    process.bgw_restart_time = restart_seconds;
    RegisterBackgroundWorker(&process);
}

void init_worker_processes() {
    handles = static_cast<BackgroundWorkerHandle**>(MemoryContextAllocZero(
        TopMemoryContext, shared_state()->slot_count * sizeof(BackgroundWorkerHandle*)));
}

bool start_worker_process(int index, Oid database, std::uint64_t launch) {
    BackgroundWorker process = describe(kWorkerType, "sync_engine_worker_main");
    snprintf(process.bgw_name, BGW_MAXLEN, "sync_engine scheduler for database %u", database);
    // It is the launcher that starts it again: it knows why the last one ended.
    process.bgw_restart_time = BGW_NEVER_RESTART;
    process.bgw_main_arg = Int32GetDatum(index);
    memcpy(process.bgw_extra, &launch, sizeof launch);
    process.bgw_notify_pid = MyProcPid;
    MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);
    BackgroundWorkerHandle* handle = nullptr;
    const bool registered = RegisterDynamicBackgroundWorker(&process, &handle);
    MemoryContextSwitchTo(caller);
    handles[index] = registered ? handle : nullptr;
    return registered;
}

WorkerProcess worker_process(int index) {
    if (handles[index] == nullptr) {
        return WorkerProcess::none;
    }
    pid_t pid = 0;
    return GetBackgroundWorkerPid(handles[index], &pid) == BGWH_STOPPED ? WorkerProcess::stopped
                                                                        : WorkerProcess::alive;
}

void forget_worker_process(int index) {
    pfree(handles[index]);
    handles[index] = nullptr;
}

}  // namespace sync_engine

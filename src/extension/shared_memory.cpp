#include "extension/shared_memory.hpp"

#include "extension/compat.hpp"

extern "C" {
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
}

namespace sync_engine {
namespace {

struct User {
    void (*request)();
    void (*start)();
};

constexpr int kMostUsers = 8;

User users[kMostUsers];
int user_count = 0;
shmem_startup_hook_type previous_startup_hook = nullptr;

#if PG_VERSION_NUM >= 150000
shmem_request_hook_type previous_request_hook = nullptr;

void on_request() {
    if (previous_request_hook != nullptr) {
        previous_request_hook();
    }
    for (int i = 0; i < user_count; ++i) {
        users[i].request();
    }
}
#endif

void on_startup() {
    if (previous_startup_hook != nullptr) {
        previous_startup_hook();
    }
    LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
    for (int i = 0; i < user_count; ++i) {
        users[i].start();
    }
    LWLockRelease(AddinShmemInitLock);
}

void chain_hooks() {
#if PG_VERSION_NUM >= 150000
    previous_request_hook = shmem_request_hook;
    shmem_request_hook = on_request;
#endif
    previous_startup_hook = shmem_startup_hook;
    shmem_startup_hook = on_startup;
}

}  // namespace

void use_shared_memory(void (*request)(), void (*start)()) {
    if (!process_shared_preload_libraries_in_progress) {
        return;
    }
    if (user_count == kMostUsers) {
        elog(FATAL, "more than %d modules use shared memory", kMostUsers);
    }
    if (user_count == 0) {
        chain_hooks();
    }
    users[user_count++] = {request, start};
#if PG_VERSION_NUM < 150000
    request();
#endif
}

}  // namespace sync_engine

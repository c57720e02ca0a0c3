// A worker's side of its slot in shared memory. One worker a process.
#pragma once

#include "extension/shared_state.hpp"

namespace sync_engine {

// Takes the slot that the launcher has chosen; false: the start has been called off since, the worker goes.
// The slot is given back when the process ends, with the exit that set_exit() said last, or as a crash.
bool enter_slot(int index, Oid* database);

void set_exit(WorkerExit exit);

// The extension is there: this worker stays.
void confirm_slot();

struct SlotOrders {
    bool recheck;  // asked for since the last call
    bool leave;
};

SlotOrders read_orders();

// Whether changes of the database wait to be told; whoever appends some says so.
bool changes_wait();
void set_changes_wait(bool wait);

}  // namespace sync_engine

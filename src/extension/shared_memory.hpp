// How modules come to their shared memory: each asks for what it needs before the server starts, and takes it
// when the server has it, in every process and again after a crash.
#pragma once

namespace sync_engine {

// For _PG_init; does nothing without preloading. `request` is called once, when memory and locks may be asked
// for; `start` whenever the memory is there, fresh or not, while the lock over its index is held.
void use_shared_memory(void (*request)(), void (*start)());

}  // namespace sync_engine

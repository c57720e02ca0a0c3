// Where ticks begin to read connection_state_due: a hint as the lanes of the queue have it, of which
// claim_hints.hpp tells.
#pragma once

#include "extension/compat.hpp"

extern "C" {
#include "datatype/timestamp.h"
}

namespace sync_engine {

// For _PG_init: what is undone by a rollback to a savepoint raises no hint. Does nothing without preloading.
void register_tick_actions();

// A connection's due time that this transaction has set without the trigger.
void note_due(TimestampTz due);

// At the end of a transaction: raises and pulls back what it has to, in a commit, and forgets.
void settle_due_hint(bool committed);

}  // namespace sync_engine

// What the worker tells of the ring of changes to those who listen.
#pragma once

#include "extension/tick.hpp"

namespace sync_engine {

// Tells which tenants have changed since the last time, if any have.
StepResult tell_changes();

}  // namespace sync_engine

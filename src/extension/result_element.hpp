// What names a job in an element of what executors hand to complete_jobs.
#pragma once

#include "extension/compat.hpp"

extern "C" {
#include "utils/jsonb.h"
#include "utils/uuid.h"
}

namespace sync_engine {

// A positive number or a string of digits; false for anything else, null included.
bool read_id(const JsonbValue* value, int64* id);

// A string of 36 characters as uuid_out writes it, in either case; false for anything else, null included.
bool read_uuid(const JsonbValue* value, pg_uuid_t* uuid);

}  // namespace sync_engine

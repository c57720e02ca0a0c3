// What functions that are called with a cron expression and a time zone share.
#pragma once

#include "core/cron.hpp"
#include "extension/compat.hpp"
#include "extension/server_zone.hpp"

extern "C" {
#include "fmgr.h"
}

namespace sync_engine {

// What a call site has read last: expressions and zones seldom change from row to row.
struct CronCall {
    char* expression;
    char* zone_name;
    CronExpression cron;
    const pg_tz* zone;
};

inline std::string_view view_of(const text* value) {
    return {VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value)};
}

// In memory of the current context, without an ereport: the caller may hold what has a destructor.
char* copy_of(std::string_view words);

// What is wrong with an expression; a null message where nothing is.
struct CronCallFault {
    char* message;
    char* hint;
};
CronCallFault read_cron(std::string_view text, CronExpression* cron);

// Raises 22023 where it is none.
CronExpression cron_of(const text* expression);

// The expression and the zone that these arguments are. Raises 22023.
const CronCall* cron_call(FunctionCallInfo fcinfo, int expression, int zone);

// Raises 22023 for an unknown word.
CronPolicy cron_policy(const text* gap, const text* fold);

}  // namespace sync_engine

// Cron expressions in SQL.
#include "extension/boundary.hpp"
#include "extension/cron_call.hpp"

extern "C" {
#include "utils/builtins.h"
#include "utils/timestamp.h"
}

using namespace sync_engine;

namespace {

using Search = std::optional<TimestampUs> (*)(const CronExpression&, const TimeZone&, TimestampUs,
                                              CronPolicy);

Datum search(FunctionCallInfo fcinfo, Search find) {
    const CronPolicy policy = cron_policy(PG_GETARG_TEXT_PP(3), PG_GETARG_TEXT_PP(4));
    const CronCall* known = cron_call(fcinfo, 0, 1);
    const std::optional<TimestampUs> found =
        find(known->cron, ServerZone(known->zone), PG_GETARG_TIMESTAMPTZ(2), policy);
    if (!found) {
        PG_RETURN_NULL();
    }
    PG_RETURN_TIMESTAMPTZ(*found);
}

}  // namespace

SYNC_ENGINE_FUNCTION(cron_next) {
    return search(fcinfo, cron_next);
}

SYNC_ENGINE_FUNCTION(cron_previous) {
    return search(fcinfo, cron_previous);
}

SYNC_ENGINE_FUNCTION(cron_matches) {
    const CronCall* known = cron_call(fcinfo, 0, 1);
    const TimestampTz instant = PG_GETARG_TIMESTAMPTZ(2);
    if (TIMESTAMP_NOT_FINITE(instant) || instant % kMicrosPerSecond != 0) {
        PG_RETURN_BOOL(false);
    }
    const InstantSeconds seconds = instant / kMicrosPerSecond;
    PG_RETURN_BOOL(cron_matches(known->cron, seconds + ServerZone(known->zone).span_at(seconds).offset));
}

SYNC_ENGINE_FUNCTION(cron_describe) {
    const CronExpression cron = cron_of(PG_GETARG_TEXT_PP(0));
    const char* words = copy_of(describe_cron(cron));
    return PointerGetDatum(cstring_to_text(words));
}

// What is wrong with an expression, also that it can never fire; null where nothing is.
SYNC_ENGINE_FUNCTION(cron_fault) {
    CronExpression cron;
    const CronCallFault fault = read_cron(view_of(PG_GETARG_TEXT_PP(0)), &cron);
    if (fault.message != nullptr) {
        PG_RETURN_TEXT_P(cstring_to_text(fault.message));
    }
    if (!cron_at_or_after(cron, 0)) {
        PG_RETURN_TEXT_P(cstring_to_text("there is no such day in any of the months it names"));
    }
    PG_RETURN_NULL();
}

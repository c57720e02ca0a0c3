// What the SQL functions write to the server log, and what they learn about the server.
#include "core/interval.hpp"
#include "core/time.hpp"
#include "extension/guc.hpp"
#include "extension/boundary.hpp"
#include "extension/records.hpp"

extern "C" {
#include "access/xlog.h"
#include "miscadmin.h"
#include "utils/timestamp.h"
}

using namespace sync_engine;

namespace {

bool text_equals(text* value, const char* wanted) {
    const std::size_t length = VARSIZE_ANY_EXHDR(value);
    return length == strlen(wanted) && memcmp(VARDATA_ANY(value), wanted, length) == 0;
}

// A time argument as ISO 8601, or a dash for NULL and for an infinity.
const char* time_argument(FunctionCallInfo fcinfo, int argument, char (&buffer)[kUtcTextSize]) {
    if (PG_ARGISNULL(argument) || format_utc(PG_GETARG_TIMESTAMPTZ(argument), buffer) == 0) {
        return "-";
    }
    return buffer;
}

}  // namespace

SYNC_ENGINE_FUNCTION(trace_scheduled) {
    if (!message_level_is_interesting(DEBUG1) || PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2)) {
        PG_RETURN_VOID();
    }
    const int32 base = PG_GETARG_INT32(2);
    const JitterSettings settings = jitter_settings();
    const JitterBounds bounds = jitter_bounds(base, settings.pct_min, settings.pct_max);
    char due[kUtcTextSize];
    char scheduled[kUtcTextSize];
    char next_run[kUtcTextSize];
    ereport(DEBUG1,
            (errmsg_internal("scheduled sync: connection=%lld jitter_seconds=%d base_interval_seconds=%d "
                             "next_due_at=%s scheduled_at=%s next_run_at=%s jitter_bounds=[%d,%d]",
                             static_cast<long long>(PG_GETARG_INT64(0)), PG_GETARG_INT32(1), base,
                             time_argument(fcinfo, 3, due), time_argument(fcinfo, 4, scheduled),
                             time_argument(fcinfo, 5, next_run), bounds.lo, bounds.hi),
             errhidestmt(true), errhidecontext(true)));
    PG_RETURN_VOID();
}

SYNC_ENGINE_FUNCTION(log) {
    text* level = PG_GETARG_TEXT_PP(0);
    const char* message = text_to_cstring(PG_GETARG_TEXT_PP(1));
    if (text_equals(level, "warning")) {
        ereport(WARNING, (errmsg("%s", message), errhidestmt(true), errhidecontext(true)));
    } else if (text_equals(level, "log")) {
        ereport(LOG_SERVER_ONLY, (errmsg("%s", message), errhidestmt(true), errhidecontext(true)));
    } else {
        ereport(ERROR,
                (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                 errmsg("log level must be \"log\" or \"warning\", not \"%s\"", text_to_cstring(level))));
    }
    PG_RETURN_VOID();
}

SYNC_ENGINE_FUNCTION(system_identity) {
    Datum values[] = {Int64GetDatum(static_cast<int64>(GetSystemIdentifier())),
                      ObjectIdGetDatum(MyDatabaseId)};
    bool nulls[] = {false, false};
    return make_record(fcinfo, values, nulls);
}

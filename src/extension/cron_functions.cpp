// Cron expressions in SQL.
#include "core/cron.hpp"
#include "extension/boundary.hpp"
#include "extension/server_zone.hpp"

extern "C" {
#include "utils/builtins.h"
#include "utils/timestamp.h"
}

using namespace sync_engine;

namespace {

// What a call site has read last: expressions and zones seldom change from row to row.
struct Known {
    char* expression;
    char* zone_name;
    CronExpression cron;
    const pg_tz* zone;
};

std::string_view view_of(const text* value) {
    return {VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value)};
}

// In memory of the current context, without an ereport: the caller may hold what has a destructor.
char* copy_of(std::string_view words) {
    auto* copy = static_cast<char*>(palloc_extended(words.size() + 1, MCXT_ALLOC_NO_OOM));
    if (copy == nullptr) {
        throw std::bad_alloc();
    }
    memcpy(copy, words.data(), words.size());
    copy[words.size()] = '\0';
    return copy;
}

// What is wrong with an expression; null where nothing is.
struct Fault {
    char* message;
    char* hint;
};

Fault read_cron(std::string_view text, CronExpression* cron) {
    const auto parsed = parse_cron(text);
    if (const auto* fault = std::get_if<CronFault>(&parsed)) {
        return {copy_of(fault->message), copy_of(fault->hint)};
    }
    *cron = std::get<CronExpression>(parsed);
    return {nullptr, nullptr};
}

CronExpression cron_of(const text* expression) {
    CronExpression cron;
    const Fault fault = read_cron(view_of(expression), &cron);
    if (fault.message != nullptr) {
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("invalid cron expression: %s", fault.message), errhint("%s", fault.hint)));
    }
    return cron;
}

const Known* known_of(FunctionCallInfo fcinfo) {
    const text* expression = PG_GETARG_TEXT_PP(0);
    const text* zone_name = PG_GETARG_TEXT_PP(1);
    auto* known = static_cast<Known*>(fcinfo->flinfo->fn_extra);
    if (known != nullptr && view_of(expression) == known->expression &&
        view_of(zone_name) == known->zone_name) {
        return known;
    }
    const CronExpression cron = cron_of(expression);
    const pg_tz* zone = zone_named(text_to_cstring(zone_name));
    MemoryContext caller = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
    auto* fresh = static_cast<Known*>(palloc0(sizeof(Known)));
    fresh->expression = text_to_cstring(expression);
    fresh->zone_name = text_to_cstring(zone_name);
    fresh->cron = cron;
    fresh->zone = zone;
    MemoryContextSwitchTo(caller);
    if (known != nullptr) {
        pfree(known->expression);
        pfree(known->zone_name);
        pfree(known);
    }
    fcinfo->flinfo->fn_extra = fresh;
    return fresh;
}

CronPolicy policy_of(const text* gap, const text* fold) {
    CronPolicy policy;
    if (view_of(gap) == "skip") {
        policy.gap = DstGap::skip;
    } else if (view_of(gap) != "run_after") {
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("dst_gap cannot be \"%s\"", text_to_cstring(gap)),
                        errhint("Use run_after or skip.")));
    }
    if (view_of(fold) == "second") {
        policy.fold = DstFold::second;
    } else if (view_of(fold) == "both") {
        policy.fold = DstFold::both;
    } else if (view_of(fold) != "first") {
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("dst_fold cannot be \"%s\"", text_to_cstring(fold)),
                        errhint("Use first, second or both.")));
    }
    return policy;
}

using Search = std::optional<TimestampUs> (*)(const CronExpression&, const TimeZone&, TimestampUs,
                                              CronPolicy);

Datum search(FunctionCallInfo fcinfo, Search find) {
    const CronPolicy policy = policy_of(PG_GETARG_TEXT_PP(3), PG_GETARG_TEXT_PP(4));
    const Known* known = known_of(fcinfo);
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
    const Known* known = known_of(fcinfo);
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
    const Fault fault = read_cron(view_of(PG_GETARG_TEXT_PP(0)), &cron);
    if (fault.message != nullptr) {
        PG_RETURN_TEXT_P(cstring_to_text(fault.message));
    }
    if (!cron_at_or_after(cron, 0)) {
        PG_RETURN_TEXT_P(cstring_to_text("there is no such day in any of the months it names"));
    }
    PG_RETURN_NULL();
}

#include "extension/cron_call.hpp"

extern "C" {
#include "utils/builtins.h"
}

namespace sync_engine {

char* copy_of(std::string_view words) {
    auto* copy = static_cast<char*>(palloc_extended(words.size() + 1, MCXT_ALLOC_NO_OOM));
    if (copy == nullptr) {
        throw std::bad_alloc();
    }
    memcpy(copy, words.data(), words.size());
    copy[words.size()] = '\0';
    return copy;
}

CronCallFault read_cron(std::string_view text, CronExpression* cron) {
    const auto parsed = parse_cron(text);
    if (const auto* fault = std::get_if<CronFault>(&parsed)) {
        return {copy_of(fault->message), copy_of(fault->hint)};
    }
    *cron = std::get<CronExpression>(parsed);
    return {nullptr, nullptr};
}

CronExpression cron_of(const text* expression) {
    CronExpression cron;
    const CronCallFault fault = read_cron(view_of(expression), &cron);
    if (fault.message != nullptr) {
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("invalid cron expression: %s", fault.message), errhint("%s", fault.hint)));
    }
    return cron;
}

const CronCall* cron_call(FunctionCallInfo fcinfo, int expression_at, int zone_at) {
    const text* expression = PG_GETARG_TEXT_PP(expression_at);
    const text* zone_name = PG_GETARG_TEXT_PP(zone_at);
    auto* known = static_cast<CronCall*>(fcinfo->flinfo->fn_extra);
    if (known != nullptr && view_of(expression) == known->expression &&
        view_of(zone_name) == known->zone_name) {
        return known;
    }
    const CronExpression cron = cron_of(expression);
    const pg_tz* zone = zone_named(text_to_cstring(zone_name));
    MemoryContext caller = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
    auto* fresh = static_cast<CronCall*>(palloc0(sizeof(CronCall)));
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

CronPolicy cron_policy(const text* gap, const text* fold) {
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

}  // namespace sync_engine

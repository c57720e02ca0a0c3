// SQL functions of this module that others of its functions call.
#pragma once

#include "extension/compat.hpp"

extern "C" {
extern PGDLLEXPORT Datum sync_engine_base_seconds(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum sync_engine_merge_config(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum sync_engine_metadata_run(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum sync_engine_metadata_with(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum sync_engine_rows_are_plain(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum sync_engine_trace_scheduled(PG_FUNCTION_ARGS);
}

namespace sync_engine {

// Calls one that is not strict, with arguments that may be null. None of these looks at who calls it, nor
// returns null.
template <int count>
Datum call_function(PGFunction function, const NullableDatum (&arguments)[count]) {
    LOCAL_FCINFO(call, count);
    InitFunctionCallInfoData(*call, nullptr, count, InvalidOid, nullptr, nullptr);
    memcpy(call->args, arguments, sizeof arguments);
    return function(call);
}

}  // namespace sync_engine

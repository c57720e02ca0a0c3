// Composite results of functions that are called once a row.
#pragma once

#include "extension/compat.hpp"

extern "C" {
#include "access/htup_details.h"
#include "funcapi.h"
}

namespace sync_engine {

// The function's row type, looked up at the first call and kept as long as the call site lives.
inline TupleDesc cached_result_type(FunctionCallInfo fcinfo) {
    if (fcinfo->flinfo->fn_extra == nullptr) {
        MemoryContext caller = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
        TupleDesc descriptor = nullptr;
        if (get_call_result_type(fcinfo, nullptr, &descriptor) != TYPEFUNC_COMPOSITE) {
            ereport(ERROR,
                    (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                     errmsg("function returning record called in context that cannot accept type record")));
        }
        fcinfo->flinfo->fn_extra = BlessTupleDesc(descriptor);
        MemoryContextSwitchTo(caller);
    }
    return static_cast<TupleDesc>(fcinfo->flinfo->fn_extra);
}

inline Datum make_record(FunctionCallInfo fcinfo, Datum* values, bool* nulls) {
    return HeapTupleGetDatum(heap_form_tuple(cached_result_type(fcinfo), values, nulls));
}

}  // namespace sync_engine

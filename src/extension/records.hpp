// Composite results: of functions that are called once a row, and of those that return a set.
#pragma once

#include "extension/compat.hpp"

extern "C" {
#include "access/htup_details.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/tuplestore.h"
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

struct ResultSet {
    Tuplestorestate* store;
    TupleDesc descriptor;
};

// Where a set-returning function puts its rows.
inline ResultSet begin_result_set(FunctionCallInfo fcinfo) {
    auto* info = reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);
    if (info == nullptr || !IsA(info, ReturnSetInfo) || (info->allowedModes & SFRM_Materialize) == 0) {
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("set-valued function called in context that cannot accept a set")));
    }
    ResultSet result = {nullptr, nullptr};
    MemoryContext caller = MemoryContextSwitchTo(info->econtext->ecxt_per_query_memory);
    if (get_call_result_type(fcinfo, nullptr, &result.descriptor) != TYPEFUNC_COMPOSITE) {
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("return type must be a row type")));
    }
    result.store =
        tuplestore_begin_heap((info->allowedModes & SFRM_Materialize_Random) != 0, false, work_mem);
    info->returnMode = SFRM_Materialize;
    info->setResult = result.store;
    info->setDesc = result.descriptor;
    MemoryContextSwitchTo(caller);
    return result;
}

}  // namespace sync_engine

// How every SQL-callable function of the module begins. An exception must not cross into C, and an ereport,
// which is a longjmp, must not cross a C++ object that has a destructor: whatever such a function keeps alive
// across a call into PostgreSQL is plain data in palloc'd memory.
#pragma once

#include <exception>
#include <new>

#include "extension/compat.hpp"

namespace sync_engine {

// Runs `body`; a C++ exception becomes an ordinary error once its handler has been left.
inline Datum call_guarded(PGFunction body, FunctionCallInfo fcinfo, const char* name) {
    char message[256];
    int code = ERRCODE_INTERNAL_ERROR;
    sigjmp_buf* const entry_stack = PG_exception_stack;
    try {
        return body(fcinfo);
    } catch (const std::bad_alloc&) {
        code = ERRCODE_OUT_OF_MEMORY;
        strlcpy(message, "out of memory", sizeof message);
    } catch (const std::exception& error) {
        strlcpy(message, error.what(), sizeof message);
    } catch (...) {
        strlcpy(message, "unknown exception", sizeof message);
    }
    if (PG_exception_stack != entry_stack) {
        // Somebody threw out of a PG_TRY block: the error stack points into a frame that is gone.
        PG_exception_stack = entry_stack;
        ereport(FATAL, (errcode(code), errmsg("exception left an error handler in %s: %s", name, message)));
    }
    ereport(ERROR, (errcode(code), errmsg("%s: %s", name, message)));
}

}  // namespace sync_engine

// Defines `Datum sync_engine_<name>(PG_FUNCTION_ARGS)`, the C function behind sync.<name>; the body follows.
// Its definition is the only thing that is exported: see -fvisibility=hidden in the Makefile.
#define SYNC_ENGINE_FUNCTION(name)                                      \
    static Datum name##_body(PG_FUNCTION_ARGS);                         \
    extern "C" {                                                        \
    extern PGDLLEXPORT Datum sync_engine_##name(PG_FUNCTION_ARGS);      \
    PG_FUNCTION_INFO_V1(sync_engine_##name);                            \
    Datum sync_engine_##name(PG_FUNCTION_ARGS) {                        \
        return ::sync_engine::call_guarded(name##_body, fcinfo, #name); \
    }                                                                   \
    }                                                                   \
    static Datum name##_body([[maybe_unused]] PG_FUNCTION_ARGS)

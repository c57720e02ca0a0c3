// What the worker does in its database, a transaction each. An error leaves as an ereport, as everywhere in
// the server; the worker catches it.
#pragma once

#include "extension/compat.hpp"

namespace sync_engine {

enum class StepResult {
    done,
    extension_gone,
    extension_busy,  // somebody drops or alters it: nothing was done, nothing was waited for
};

struct TickBatch {
    std::int64_t enqueued;
    std::int64_t skipped;
    std::int64_t requeued;
    std::int64_t backlog;
    bool more;
    std::int64_t look_in_ms;  // until a schedule has to be looked at; -1: none
    bool quiet;               // sync._is_quiet(): nothing was done
};

// Sets what the session has to look like, whatever the settings of the database and the server say.
void prepare_worker_session();

// Copies the name of the database that this worker is connected to; false where there is none any more or it
// has become a template.
bool read_database_name(NameData* name);

// Whether the extension is installed here.
StepResult probe_extension();

// One batch of the tick.
StepResult run_tick_batch(TickBatch* batch);

// NOTIFY to whoever listens for changes.
StepResult notify_changes(const char* payload);

// One step of sync._housekeeping; *more tells whether another one has something to do.
StepResult run_housekeeping(bool* more);

}  // namespace sync_engine

// The databases of the cluster as the launcher sees them, and what it remembers of those that need no worker.
// All of it belongs to one process.
#pragma once

#include "extension/compat.hpp"

namespace sync_engine {

struct Database {
    Oid oid;
    NameData name;
};

// Once, before anything else here.
void init_database_list();

// Reads pg_database afresh: those that can be connected to and are no template, in the order of their OIDs.
// Pointers from earlier calls are void.
void read_databases();
int database_count();
const Database* database_at(int index);
const Database* find_database(Oid oid);

// That the database did not have the extension, so that there is no need to look before `look_again`, which
// is a monotonic_ms() time. Forgotten when the database is gone.
void remember_absent(Oid database, std::int64_t look_again);
// Whether that is still so at `now`.
bool known_absent(Oid database, std::int64_t now);

}  // namespace sync_engine

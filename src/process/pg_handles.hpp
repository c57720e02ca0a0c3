#pragma once

#include <memory>

#include <libpq-fe.h>

namespace sync_engine {

struct PgDeleter {
    void operator()(PGconn* connection) const noexcept { PQfinish(connection); }
    void operator()(PGresult* result) const noexcept { PQclear(result); }
    void operator()(PQconninfoOption* options) const noexcept { PQconninfoFree(options); }
    void operator()(char* memory) const noexcept { PQfreemem(memory); }
};

using PgConnection = std::unique_ptr<PGconn, PgDeleter>;
using PgResult = std::unique_ptr<PGresult, PgDeleter>;
using PgConninfo = std::unique_ptr<PQconninfoOption, PgDeleter>;
using PgMemory = std::unique_ptr<char, PgDeleter>;

}  // namespace sync_engine

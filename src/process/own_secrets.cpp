#include "process/own_secrets.hpp"

#include <cstdlib>
#include <string_view>

#include "process/pg_handles.hpp"

namespace sync_engine {

void redactor_add_own_secrets(Redactor& redactor, const std::string& database_url) {
    const PgConninfo parsed(PQconninfoParse(database_url.c_str(), nullptr));
    for (const PQconninfoOption* o = parsed.get(); o != nullptr && o->keyword != nullptr; ++o) {
        const std::string_view keyword = o->keyword;
        if (o->val != nullptr && (keyword == "password" || keyword == "sslpassword")) {
            redactor.add(o->val);
        }
    }
    if (const char* password = std::getenv("PGPASSWORD")) {
        redactor.add(password);
    }
}

}  // namespace sync_engine

#pragma once

#include <string>

#include "process/redactor.hpp"

namespace sync_engine {

// Makes the passwords that the process has for its database known to the redactor: of the connection string
// and of PGPASSWORD.
void redactor_add_own_secrets(Redactor& redactor, const std::string& database_url);

}  // namespace sync_engine

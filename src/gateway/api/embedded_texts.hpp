#pragma once

// Files that are built into the program: the API's description and the statements of its operations.

#include <string_view>
#include <vector>

namespace sync_engine {

struct EmbeddedText {
    std::string_view name;  // of the file, without its folder
    std::string_view text;
};

// src/gateway/api/openapi/*.json: parts of one OpenAPI document.
const std::vector<EmbeddedText>& openapi_texts();
// src/gateway/api/sql/*.sql: see operation_sql.hpp.
const std::vector<EmbeddedText>& operation_texts();

}  // namespace sync_engine

#pragma once

#include <optional>
#include <string>
#include <vector>

#include "process/pg_handles.hpp"

namespace sync_engine {

// A result as the server would send it; an empty optional is NULL.
inline PgResult result_of(std::vector<std::string> columns,
                          std::vector<std::vector<std::optional<std::string>>> rows) {
    PgResult result(PQmakeEmptyPGresult(nullptr, PGRES_TUPLES_OK));
    std::vector<PGresAttDesc> descriptions;
    for (std::string& name : columns) {
        descriptions.push_back({name.data(), 0, 0, 0, 25, -1, -1});
    }
    PQsetResultAttrs(result.get(), static_cast<int>(descriptions.size()), descriptions.data());
    for (int row = 0; row < static_cast<int>(rows.size()); ++row) {
        for (int column = 0; column < static_cast<int>(columns.size()); ++column) {
            auto& value = rows[static_cast<std::size_t>(row)][static_cast<std::size_t>(column)];
            PQsetvalue(result.get(), row, column, value ? value->data() : nullptr,
                       value ? static_cast<int>(value->size()) : -1);
        }
    }
    return result;
}

}  // namespace sync_engine

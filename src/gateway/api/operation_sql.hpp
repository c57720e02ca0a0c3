#pragma once

// The statements of the API's operations, as they stand in src/gateway/api/sql/*.sql:
//
//     -- define NAME              text up to the next such line, put in for {{NAME}}
//     -- operation OPERATION_ID   statements, each ended by a `;` at the end of a line; one transaction
//     -- with NAME: text          what {{NAME}} stands for in this operation, also within definitions
//     -- sort NAME: EXPRESSION::TYPE, ...    an order of a list; the last expression is unique
//     --? PARAMETER: text         a line that is only there when the parameter was given
//
// In a list's statement {{key}} stands for the row's place, {{after}} for the condition that it comes after
// the page before, {{order}} for ORDER BY. {{one_by_one}} ends a lateral subquery: where the order is that of
// an index it is looked up for the rows of the page alone, else joined as a whole. Where a statement before
// the last one has a column `found` and no row, the answer is 404: what a list belongs to has to be there. $1
// are the parameters, $2 is the body, both jsonb.

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/api/operation_request.hpp"
#include "gateway/api/embedded_texts.hpp"
#include "gateway/pg_pool.hpp"

namespace sync_engine {

struct SortKey {
    std::string expression;
    std::string type;
};

struct OperationSql {
    std::vector<std::string> statements;
    std::map<std::string, std::vector<SortKey>> sorts;
    bool is_list() const noexcept { return !sorts.empty(); }

    // The statements for a request.
    std::vector<PgStatement> bind(const OperationRequest& request) const;
};

// By operationId. Throws std::runtime_error, which names file and line, where a text cannot be read.
std::map<std::string, OperationSql> read_operation_sql(const std::vector<EmbeddedText>& texts);

}  // namespace sync_engine

#pragma once

// A request as its operation's statements take it: parameters and body checked by the API's description.

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "gateway/api/api_document.hpp"
#include "gateway/api/page_cursor.hpp"
#include "gateway/http_message.hpp"
#include "gateway/problem.hpp"

namespace sync_engine {

struct OperationRequest {
    std::string parameters;           // a JSON object; what was not given and has no default is not in it
    std::optional<std::string> body;  // JSON, as it was sent
    std::vector<std::string> given;   // names of the parameters in it
    std::optional<PageOrder> order;   // of lists
    std::string filters;              // what the list is restricted by
    std::size_t limit = 0;            // rows of a page
};

// The request, or what is wrong with it: 400 for parameters and bodies that cannot be read, 415 for another
// content type, 422 for a body that is not as its schema asks.
std::variant<OperationRequest, Problem> read_operation_request(const ApiRoute& route,
                                                               const HttpRequest& request);

}  // namespace sync_engine

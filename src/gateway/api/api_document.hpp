#pragma once

// The description of the API (OpenAPI 3.1), which is both what clients are served and what requests are
// checked by: routes, scopes, parameters and bodies are written down once.

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/api/embedded_texts.hpp"
#include "gateway/api/json_schema.hpp"

namespace sync_engine {

struct ApiParameter {
    enum class Place { path, query, header };
    enum class Type { text, integer, boolean, list };  // list: texts, separated by commas
    std::string name;
    Place place = Place::query;
    Type type = Type::text;
    bool required = false;
    std::string fallback;  // as JSON; empty: stays away
    JsonSchema schema;
};

struct ApiOperation {
    std::string id;                    // operationId: the name of its statements, see operation_sql.hpp
    std::string method;                // upper case
    std::vector<std::string> path;     // segments below the base path; "{name}" stands for a path parameter
    std::optional<std::string> scope;  // what a token has to have; none: no token is asked for
    std::vector<ApiParameter> parameters;
    std::optional<JsonSchema> body;
    bool body_required = false;
    std::string body_type = "application/json";
    unsigned status = 200;    // of success, unless the statements say another
    bool idempotent = false;  // takes Idempotency-Key
};

struct ApiRoute {
    const ApiOperation* operation = nullptr;                       // null: there is no such path or method
    std::vector<std::pair<std::string, std::string>> path_values;  // decoded
    std::string allow;  // methods that the path has; empty: there is no such path
};

class ApiDocument {
  public:
    // Joins the parts: members of `paths` and of each section of `components` are gathered. Throws
    // std::runtime_error, which names part and place, where the description cannot be used.
    explicit ApiDocument(const std::vector<EmbeddedText>& parts);

    const std::vector<ApiOperation>& operations() const noexcept { return operations_; }
    // The document as JSON, as it is served.
    const std::string& text() const noexcept { return text_; }
    // `path`: percent-encoded, beginning with kBasePath.
    ApiRoute find(std::string_view method, std::string_view path) const;

    static constexpr std::string_view kBasePath = "/api/v2";

  private:
    std::vector<ApiOperation> operations_;
    std::string text_;
};

}  // namespace sync_engine

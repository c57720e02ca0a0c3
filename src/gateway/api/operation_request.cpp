#include "gateway/api/operation_request.hpp"

#include <algorithm>
#include <charconv>

#include <rapidjson/error/en.h>
#include <rapidjson/memorystream.h>

#include "gateway/url_decode.hpp"
#include "gateway/json_depth.hpp"
#include "process/json_string.hpp"

namespace sync_engine {

namespace {

using Pairs = std::vector<std::pair<std::string, std::string>>;

Problem bad_parameter(const std::string& name, const std::string& what) {
    return {400, "invalid_parameter", "A parameter is wrong", name + " " + what, name, ""};
}

constexpr unsigned kParseFlags = rapidjson::kParseIterativeFlag | rapidjson::kParseValidateEncodingFlag;

Problem malformed(const std::string& detail) {
    return {400, "malformed_json", "The body is not JSON", detail, "", ""};
}

std::optional<Problem> parse_body(const std::string& text, rapidjson::Document& document) {
    // The parser would take it for the end, and what comes behind would go unread.
    if (const std::size_t nul = text.find('\0'); nul != std::string::npos) {
        return malformed("There is a zero byte. At byte " + std::to_string(nul) + ".");
    }
    if (is_nested_deeper(text, kMaxBodyDepth)) {
        return malformed("it is nested deeper than " + std::to_string(kMaxBodyDepth));
    }
    // Parse() would pass over a byte order mark, at which the database stumbles.
    rapidjson::MemoryStream stream(text.data(), text.size());
    document.ParseStream<kParseFlags>(stream);
    if (document.HasParseError()) {
        return malformed(std::string(rapidjson::GetParseError_En(document.GetParseError())) + " At byte " +
                         std::to_string(document.GetErrorOffset()) + ".");
    }
    return std::nullopt;
}

bool is_json(const std::string* content_type, const std::string& wanted) {
    if (content_type == nullptr) {
        return false;
    }
    std::string type = content_type->substr(0, content_type->find(';'));
    type.erase(type.find_last_not_of(' ') + 1);
    std::transform(type.begin(), type.end(), type.begin(), [](unsigned char c) { return std::tolower(c); });
    return type == wanted || type == "application/json";
}

std::optional<Problem> read_body(const ApiOperation& operation, const HttpRequest& request,
                                 OperationRequest& out) {
    if (!operation.body) {
        return std::nullopt;
    }
    if (request.body.empty()) {
        if (operation.body_required) {
            return Problem{400, "body_missing", "The request has no body", "a JSON object is expected", "",
                           ""};
        }
        out.body = "{}";
        return std::nullopt;
    }
    if (!is_json(request.header("content-type"), operation.body_type)) {
        return Problem{415,
                       "unsupported_media_type",
                       "The content type is not supported",
                       "use " + operation.body_type,
                       "",
                       ""};
    }
    rapidjson::Document document;
    if (auto problem = parse_body(request.body, document)) {
        return problem;
    }
    if (const auto fault = operation.body->check(document)) {
        const std::string name = fault->pointer.empty() ? "the body" : fault->pointer;
        return Problem{
            422, "invalid", "The request is not valid", name + " " + fault->message, fault->pointer, ""};
    }
    out.body = request.body;
    return std::nullopt;
}

// The text as JSON of the parameter's type; nothing where it is not of that type.
std::optional<std::string> as_json(ApiParameter::Type type, const std::string& text) {
    std::string out;
    switch (type) {
        case ApiParameter::Type::integer: {
            std::int64_t number = 0;
            const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
            return error == std::errc() && end == text.data() + text.size()
                       ? std::optional(std::to_string(number))
                       : std::nullopt;
        }
        case ApiParameter::Type::boolean:
            return text == "true" || text == "false" ? std::optional(text) : std::nullopt;
        case ApiParameter::Type::list: {
            out = "[";
            for (std::size_t from = 0; from <= text.size();) {
                const std::size_t to = std::min(text.find(',', from), text.size());
                out += out.size() > 1 ? "," : "";
                append_json_string(out, text.substr(from, to - from));
                from = to + 1;
            }
            return out + "]";
        }
        case ApiParameter::Type::text:
            break;
    }
    append_json_string(out, text);
    return out;
}

std::string type_name(ApiParameter::Type type) {
    return type == ApiParameter::Type::integer ? "a whole number" : "true or false";
}

const std::string* value_of(const ApiParameter& parameter, const ApiRoute& route, const Pairs& query,
                            const HttpRequest& request) {
    if (parameter.place == ApiParameter::Place::header) {
        std::string name = parameter.name;
        std::transform(name.begin(), name.end(), name.begin(),
                       [](unsigned char c) { return std::tolower(c); });
        return request.header(name);
    }
    const Pairs& pairs = parameter.place == ApiParameter::Place::path ? route.path_values : query;
    for (const auto& [name, value] : pairs) {
        if (name == parameter.name) {
            return &value;
        }
    }
    return nullptr;
}

std::string list_filters(const Pairs& query) {
    Pairs filters;
    for (const auto& pair : query) {
        if (pair.first != "cursor" && pair.first != "limit" && pair.first != "sort") {
            filters.push_back(pair);
        }
    }
    std::sort(filters.begin(), filters.end());
    std::string out;
    for (const auto& [name, value] : filters) {
        out += name + "=" + value + "\n";
    }
    return out;
}

std::optional<Problem> unknown_in(const ApiOperation& operation, const Pairs& query) {
    for (auto pair = query.begin(); pair != query.end(); ++pair) {
        const bool known = std::any_of(
            operation.parameters.begin(), operation.parameters.end(), [&](const ApiParameter& parameter) {
                return parameter.place == ApiParameter::Place::query && parameter.name == pair->first;
            });
        if (!known) {
            return bad_parameter(pair->first, "is not known here");
        }
        if (std::any_of(query.begin(), pair, [&](const auto& other) { return other.first == pair->first; })) {
            return bad_parameter(pair->first, "is there twice");
        }
    }
    return std::nullopt;
}

void add_member(std::string& object, const std::string& name, const std::string& json) {
    object += object.size() > 1 ? "," : "";
    append_json_string(object, name);
    object += ":" + json;
}

std::optional<Problem> read_parameter(const ApiParameter& parameter, const std::string* text,
                                      OperationRequest& out) {
    if (text == nullptr) {
        if (parameter.required) {
            return bad_parameter(parameter.name, "is missing");
        }
        if (!parameter.fallback.empty()) {
            add_member(out.parameters, parameter.name, parameter.fallback);
        }
        return std::nullopt;
    }
    const auto json = as_json(parameter.type, *text);
    std::string wrong = json ? "" : "must be " + type_name(parameter.type);
    if (json) {
        rapidjson::Document value;
        value.Parse(json->data(), json->size());
        const auto fault = parameter.schema.check(value);
        wrong = fault ? fault->message : "";
    }
    if (!wrong.empty()) {
        // What cannot be an id is nobody's.
        return parameter.place == ApiParameter::Place::path
                   ? Problem{404, "not_found", "There is no such thing", parameter.name + " " + wrong, "", ""}
                   : bad_parameter(parameter.name, wrong);
    }
    add_member(out.parameters, parameter.name, *json);
    out.given.push_back(parameter.name);
    return std::nullopt;
}

// Sort and place of a list's page: parameters `sort` and `cursor`; what restricts the list are the others.
std::optional<Problem> read_order(const Pairs& query, OperationRequest& out) {
    const std::string closed = out.parameters + "}";
    rapidjson::Document parameters;
    parameters.Parse(closed.data(), closed.size());
    if (!parameters.HasMember("sort")) {
        return std::nullopt;
    }
    PageOrder order;
    order.sort = parameters["sort"].GetString();
    order.descending = order.sort.front() == '-';
    order.sort.erase(0, order.descending ? 1 : 0);
    out.filters = list_filters(query);
    if (parameters.HasMember("cursor") &&
        !read_page_cursor(parameters["cursor"].GetString(), out.filters, order)) {
        return Problem{400,
                       "invalid_cursor",
                       "The cursor is not one of this list",
                       "a cursor goes with the sort and the filters that it was made with",
                       "cursor",
                       ""};
    }
    if (!order.after.empty()) {
        add_member(out.parameters, "after", order.after);
    }
    out.limit = parameters.HasMember("limit") ? parameters["limit"].GetUint() : 0;
    out.order = std::move(order);
    return std::nullopt;
}

}  // namespace

std::variant<OperationRequest, Problem> read_operation_request(const ApiRoute& route,
                                                               const HttpRequest& request) {
    const ApiOperation& operation = *route.operation;
    const auto query = parse_query(request.query);
    if (!query) {
        return Problem{
            400, "malformed_query", "The query cannot be read", "it is not percent-encoded UTF-8", "", ""};
    }
    if (auto problem = unknown_in(operation, *query)) {
        return std::move(*problem);
    }
    OperationRequest out;
    out.parameters = "{";
    for (const ApiParameter& parameter : operation.parameters) {
        if (auto problem = read_parameter(parameter, value_of(parameter, route, *query, request), out)) {
            return std::move(*problem);
        }
    }
    if (auto problem = read_order(*query, out)) {
        return std::move(*problem);
    }
    out.parameters += "}";
    if (auto problem = read_body(operation, request, out)) {
        return std::move(*problem);
    }
    return out;
}

}  // namespace sync_engine

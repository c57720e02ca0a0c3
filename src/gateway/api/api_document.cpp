#include "gateway/api/api_document.hpp"

#include <array>
#include <stdexcept>

#include <rapidjson/error/en.h>
#include <rapidjson/pointer.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include "gateway/url_decode.hpp"

namespace sync_engine {

namespace {

using rapidjson::Document;
using rapidjson::Value;

constexpr int kMaxReferences = 20;  // within each other: a schema that holds itself is refused
constexpr std::array<std::string_view, 5> kMethods{"get", "post", "put", "patch", "delete"};

[[noreturn]] void refuse(std::string_view where, std::string_view what) {
    throw std::runtime_error("the API's description: " + std::string(where) + ": " + std::string(what));
}

std::string to_json(const Value& value) {
    rapidjson::StringBuffer buffer;
    rapidjson::Writer<rapidjson::StringBuffer> writer(buffer);
    value.Accept(writer);
    return {buffer.GetString(), buffer.GetSize()};
}

Document parse(const EmbeddedText& part) {
    Document document;
    document.Parse(part.text.data(), part.text.size());
    if (document.HasParseError()) {
        refuse(part.name, std::string(rapidjson::GetParseError_En(document.GetParseError())) + " at " +
                              std::to_string(document.GetErrorOffset()));
    }
    return document;
}

// Members of `from` go into `into`; objects under the same name are joined as deep as `levels` says.
void join(Value& into, const Value& from, int levels, Document& document, std::string_view part) {
    for (const auto& member : from.GetObject()) {
        auto found = into.FindMember(member.name);
        if (found == into.MemberEnd()) {
            into.AddMember(Value(member.name, document.GetAllocator()),
                           Value(member.value, document.GetAllocator()), document.GetAllocator());
        } else if (levels > 0 && found->value.IsObject() && member.value.IsObject()) {
            join(found->value, member.value, levels - 1, document, part);
        } else {
            refuse(part, std::string(member.name.GetString()) + " is there twice");
        }
    }
}

// A copy of `value` with what its references point to in their place.
void resolve(Value& value, const Document& document, Document::AllocatorType& allocator, int depth) {
    if (depth > kMaxReferences) {
        refuse("a schema", "holds itself");
    }
    if (value.IsArray()) {
        for (auto& element : value.GetArray()) {
            resolve(element, document, allocator, depth);
        }
        return;
    }
    if (!value.IsObject()) {
        return;
    }
    const auto reference = value.FindMember("$ref");
    if (reference != value.MemberEnd()) {
        const std::string pointer = reference->value.GetString();
        const Value* target = rapidjson::Pointer(pointer.c_str()).Get(document);
        if (target == nullptr) {
            refuse(pointer, "is not there");
        }
        value.CopyFrom(*target, allocator);
        resolve(value, document, allocator, depth + 1);
        return;
    }
    for (auto& member : value.GetObject()) {
        resolve(member.value, document, allocator, depth);
    }
}

std::string text_of(const Value& object, const char* name) {
    const auto found = object.FindMember(name);
    return found != object.MemberEnd() && found->value.IsString() ? found->value.GetString() : "";
}

bool flag_of(const Value& object, const char* name) {
    const auto found = object.FindMember(name);
    return found != object.MemberEnd() && found->value.IsBool() && found->value.GetBool();
}

std::vector<std::string> segments_of(std::string_view path) {
    std::vector<std::string> segments;
    std::size_t from = 1;
    while (from <= path.size()) {
        const std::size_t to = std::min(path.find('/', from), path.size());
        segments.emplace_back(path.substr(from, to - from));
        from = to + 1;
    }
    return segments;
}

bool is_variable(std::string_view segment) {
    return segment.size() > 2 && segment.front() == '{' && segment.back() == '}';
}

ApiParameter read_parameter(const Value& source, std::string_view where) {
    ApiParameter parameter;
    parameter.name = text_of(source, "name");
    const std::string place = text_of(source, "in");
    if (parameter.name.empty() || !source.HasMember("schema")) {
        refuse(where, "a parameter has no name or schema");
    }
    parameter.place = place == "path"     ? ApiParameter::Place::path
                      : place == "header" ? ApiParameter::Place::header
                                          : ApiParameter::Place::query;
    const Value& schema = source["schema"];
    const std::string type = text_of(schema, "type");
    parameter.type = type == "integer"   ? ApiParameter::Type::integer
                     : type == "boolean" ? ApiParameter::Type::boolean
                     : type == "array"   ? ApiParameter::Type::list
                                         : ApiParameter::Type::text;
    parameter.required = flag_of(source, "required");
    if (schema.HasMember("default")) {
        parameter.fallback = to_json(schema["default"]);
    }
    parameter.schema = JsonSchema(schema);
    return parameter;
}

void read_body(ApiOperation& operation, const Value& source) {
    const auto body = source.FindMember("requestBody");
    if (body == source.MemberEnd()) {
        return;
    }
    operation.body_required = flag_of(body->value, "required");
    for (const auto& content : body->value["content"].GetObject()) {
        operation.body_type = content.name.GetString();
        operation.body = JsonSchema(content.value["schema"]);
    }
}

// The first status of success that the description names.
unsigned success_of(const Value& source, std::string_view where) {
    for (const auto& response : source["responses"].GetObject()) {
        const std::string status = response.name.GetString();
        if (status.size() == 3 && status.front() == '2') {
            return static_cast<unsigned>(std::stoul(status));
        }
    }
    refuse(where, "no response of success is described");
}

ApiOperation read_operation(std::string_view path, std::string_view method, const Value& item,
                            const Value& source) {
    ApiOperation operation;
    operation.id = text_of(source, "operationId");
    if (operation.id.empty()) {
        refuse(path, std::string(method) + " has no operationId");
    }
    for (const char c : method) {
        operation.method += static_cast<char>(c - 'a' + 'A');
    }
    operation.path = segments_of(path);
    for (const Value* holder : {&item, &source}) {
        const auto parameters = holder->FindMember("parameters");
        if (parameters != holder->MemberEnd()) {
            for (const auto& parameter : parameters->value.GetArray()) {
                operation.parameters.push_back(read_parameter(parameter, operation.id));
            }
        }
    }
    for (const ApiParameter& parameter : operation.parameters) {
        operation.idempotent = operation.idempotent || parameter.name == "Idempotency-Key";
    }
    read_body(operation, source);
    operation.status = success_of(source, operation.id);
    const auto security = source.FindMember("security");
    if (security == source.MemberEnd()) {
        refuse(operation.id, "does not say which scope it takes");
    }
    if (!security->value.Empty()) {
        operation.scope = "";
        const Value& scopes = security->value[0]["token"];
        if (!scopes.Empty()) {
            operation.scope = scopes[0].GetString();
        }
    }
    return operation;
}

bool fits(const ApiOperation& operation, const std::vector<std::string>& segments) {
    if (operation.path.size() != segments.size()) {
        return false;
    }
    for (std::size_t i = 0; i < segments.size(); ++i) {
        if (segments[i].empty() || (!is_variable(operation.path[i]) && operation.path[i] != segments[i])) {
            return false;
        }
    }
    return true;
}

// How many segments stand as they are: /deliveries/replay comes before /deliveries/{id}.
std::size_t fixed_segments(const ApiOperation& operation) {
    std::size_t fixed = 0;
    for (const std::string& segment : operation.path) {
        fixed += is_variable(segment) ? 0 : 1;
    }
    return fixed;
}

}  // namespace

ApiDocument::ApiDocument(const std::vector<EmbeddedText>& parts) {
    Document whole(rapidjson::kObjectType);
    for (const EmbeddedText& part : parts) {
        join(whole, parse(part), 2, whole, part.name);
    }
    text_ = to_json(whole);
    if (!whole.HasMember("paths")) {
        refuse("paths", "is not there");
    }
    Document resolved;
    resolved.CopyFrom(whole["paths"], resolved.GetAllocator());
    resolve(resolved, whole, resolved.GetAllocator(), 0);
    for (const auto& item : resolved.GetObject()) {
        for (const std::string_view method : kMethods) {
            const auto source = item.value.FindMember(std::string(method).c_str());
            if (source != item.value.MemberEnd()) {
                operations_.push_back(
                    read_operation(item.name.GetString(), method, item.value, source->value));
            }
        }
    }
}

ApiRoute ApiDocument::find(std::string_view method, std::string_view path) const {
    ApiRoute route;
    if (path.substr(0, kBasePath.size()) != kBasePath) {
        return route;
    }
    std::vector<std::string> segments;
    for (const std::string& raw : segments_of(path.substr(kBasePath.size()))) {
        const auto decoded = url_decode(raw, false);
        if (!decoded) {
            return route;
        }
        segments.push_back(*decoded);
    }
    std::size_t most_fixed = 0;
    for (const ApiOperation& operation : operations_) {
        if (!fits(operation, segments) || fixed_segments(operation) < most_fixed) {
            continue;
        }
        if (fixed_segments(operation) > most_fixed) {
            most_fixed = fixed_segments(operation);
            route = {};
        }
        route.allow += (route.allow.empty() ? "" : ", ") + operation.method;
        // HEAD is GET without the body, which the server leaves away.
        if (operation.method == method || (method == "HEAD" && operation.method == "GET")) {
            route.operation = &operation;
        }
    }
    if (route.operation != nullptr) {
        for (std::size_t i = 0; i < segments.size(); ++i) {
            const std::string& name = route.operation->path[i];
            if (is_variable(name)) {
                route.path_values.emplace_back(name.substr(1, name.size() - 2), segments[i]);
            }
        }
    }
    return route;
}

}  // namespace sync_engine

#include "connectors/function_connector.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <string>

#include "connectors/function_reply.hpp"
#include "connectors/http_failure.hpp"
#include "connectors/json_text.hpp"
#include "connectors/retry_after.hpp"
#include "core/url.hpp"

namespace sync_engine {
namespace {

struct FunctionConfig {
    rapidjson::Document document;
    std::string url;
    long timeout_ms = 60'000;
    long limit = 1000;
};

std::optional<double> number_of(const rapidjson::Value& value) {
    double number = 0;
    if (!is_number(value)) {
        return std::nullopt;
    }
    const std::string_view text = number_text(value);
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
    return code == std::errc() && end == text.data() + text.size() ? std::optional(number) : std::nullopt;
}

void check_number(const FunctionConfig& config, const char* key, double lo, double hi, long& into,
                  double scale, std::vector<ConfigError>& errors) {
    const rapidjson::Value* value = member(config.document, key);
    if (value == nullptr) {
        return;
    }
    const auto number = number_of(*value);
    if (!number || !(*number >= lo && *number <= hi)) {
        errors.push_back({std::string("$.") + key, "expected a number from " +
                                                       std::to_string(static_cast<long>(lo)) + " to " +
                                                       std::to_string(static_cast<long>(hi))});
        return;
    }
    into = std::lround(*number * scale);
}

bool is_secret_reference(const rapidjson::Value& value) {
    return value.IsObject() && value.MemberCount() == 1 &&
           (value.HasMember("$env") || value.HasMember("$file")) && is_string(value.MemberBegin()->value);
}

bool is_header_name(std::string_view name) {
    constexpr std::string_view marks = "!#$%&'*+-.^_`|~";
    return !name.empty() && std::ranges::all_of(name, [&](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
               marks.find(c) != std::string_view::npos;
    });
}

bool is_header_value(std::string_view text) {
    return text.find_first_of(std::string_view("\r\n\0", 3)) == std::string_view::npos;
}

// Headers that frame the request, say where it goes, or are the connector's to set: a connection could reach
// another virtual host or smuggle a second request by them.
bool is_reserved_header(std::string_view name) {
    constexpr std::array<std::string_view, 6> reserved = {
        "connection", "content-length", "content-type", "host", "idempotency-key", "transfer-encoding"};
    return std::ranges::any_of(reserved, [&](std::string_view own) { return same_header_name(name, own); });
}

void check_headers(const rapidjson::Value& headers, std::vector<ConfigError>& errors) {
    if (!headers.IsObject()) {
        errors.push_back({"$.headers", "expected an object of names and values"});
        return;
    }
    for (const auto& m : headers.GetObject()) {
        const std::string_view name = string_view_of(m.name);
        const auto bad = [&](std::string message) {
            errors.push_back({"$.headers." + std::string(name), std::move(message)});
        };
        if (!is_header_name(name)) {
            bad("not the name of a header");
        } else if (is_reserved_header(name)) {
            bad("this header cannot be set");
        } else if (!is_string(m.value) && !is_secret_reference(m.value)) {
            bad("expected a string or a secret reference such as {\"$env\": \"NAME\"}");
        } else if (is_string(m.value) && !is_header_value(string_view_of(m.value))) {
            bad("a header cannot hold a line break");
        }
    }
}

// Reads what the connector itself needs; the rest of the configuration is the function's business.
FunctionConfig read_config(std::string_view json, std::vector<ConfigError>& errors) {
    FunctionConfig config;
    std::string error;
    if (!parse_json(json.empty() ? "{}" : json, config.document, error) || !config.document.IsObject()) {
        errors.push_back({"$", error.empty() ? "expected an object" : error});
        config.document.SetObject();
        return config;
    }
    const rapidjson::Value* url = member(config.document, "url");
    if (url == nullptr || !is_string(*url) || !parse_url(string_view_of(*url))) {
        errors.push_back({"$.url", "expected the http or https URL to POST to"});
    } else {
        config.url = string_view_of(*url);
    }
    check_number(config, "timeout_seconds", 1, kMaxTimeoutSeconds, config.timeout_ms, 1000, errors);
    check_number(config, "limit", 1, 100'000, config.limit, 1, errors);
    if (const rapidjson::Value* headers = member(config.document, "headers")) {
        check_headers(*headers, errors);
    }
    if (const rapidjson::Value* auth = member(config.document, "auth")) {
        const rapidjson::Value* type = member(*auth, "type");
        if (type == nullptr || !is_string(*type) || string_view_of(*type) != "bearer") {
            errors.push_back({"$.auth.type", "expected bearer"});
        }
        const rapidjson::Value* token = member(*auth, "token");
        if (token == nullptr || (!is_string(*token) && !is_secret_reference(*token))) {
            errors.push_back({"$.auth.token", "expected a string or a secret reference"});
        }
    }
    return config;
}

// The text of a configured value; a secret reference is resolved for `host`. On failure the reference's name.
std::variant<std::string, Failure> resolve(const rapidjson::Value& value, SecretResolver& secrets,
                                           std::string_view host) {
    if (!is_secret_reference(value)) {
        return std::string(string_view_of(value));
    }
    const auto& reference = *value.MemberBegin();
    const bool env = string_view_of(reference.name) == "$env";
    const std::string name(string_view_of(reference.value));
    auto secret = env ? secrets.env(name, host) : secrets.file(name, host);
    if (!secret) {
        return permanent_failure("secret",
                                 std::string("secret reference ") + (env ? "$env " : "$file ") + name +
                                     " does not resolve: it is not allowed for this host or has no value");
    }
    return *std::move(secret);
}

// The request's body: the configuration goes along without what only the connector needs.
std::string request_body(const Job& job, const FunctionConfig& config) {
    std::string body = "{\"cursor\":" + (job.cursor_json.empty() ? "null" : job.cursor_json) +
                       ",\"input\":" + (job.input_json.empty() ? "null" : job.input_json) + ",\"config\":{";
    bool first = true;
    for (const auto& m : config.document.GetObject()) {
        const std::string_view name = string_view_of(m.name);
        if (name == "sync_engine" || name == "url" || name == "auth" || name == "headers") {
            continue;
        }
        body += first ? "" : ",";
        append_json_text(body, name);
        body += ":";
        append_json(body, m.value);
        first = false;
    }
    body += "},\"connection\":{\"id\":" + std::to_string(job.connection_id) +
            ",\"tenant_id\":" + json_text(job.tenant_id) + ",\"provider\":" + json_text(job.provider_slug) +
            "},\"job\":{\"id\":" + std::to_string(job.job_id) + ",\"type\":" + json_text(job.job_type) +
            ",\"attempt\":" + std::to_string(job.attempts + 1) +
            "},\"limit\":" + std::to_string(config.limit) + "}";
    return body;
}

std::optional<Failure> add_headers(const FunctionConfig& config, SecretResolver& secrets,
                                   std::string_view host, ApiRequest& request) {
    const auto add = [&](std::string name, const rapidjson::Value& value,
                         std::string_view prefix) -> std::optional<Failure> {
        auto text = resolve(value, secrets, host);
        if (auto* failure = std::get_if<Failure>(&text)) {
            return std::move(*failure);
        }
        const std::string& plain = std::get<std::string>(text);
        if (!is_header_value(plain)) {
            return permanent_failure("bad_config", "header " + name + " would hold a line break");
        }
        request.headers.emplace_back(std::move(name), std::string(prefix) + plain);
        return std::nullopt;
    };
    if (const rapidjson::Value* headers = member(config.document, "headers")) {
        for (const auto& m : headers->GetObject()) {
            if (auto failure = add(std::string(string_view_of(m.name)), m.value, "")) {
                return failure;
            }
        }
    }
    if (const rapidjson::Value* auth = member(config.document, "auth")) {
        return add("Authorization", *member(*auth, "token"), "Bearer ");
    }
    return std::nullopt;
}

class FunctionConnector final : public Connector {
  public:
    Step prepare(const Job& job, SecretResolver& secrets, TimestampUs) const override {
        std::vector<ConfigError> errors;
        const FunctionConfig config = read_config(job.config_json, errors);
        if (!errors.empty()) {
            std::string message = "configuration:";
            for (const auto& e : errors) {
                message += " " + e.path + ": " + e.message + ";";
            }
            message.pop_back();
            return permanent_failure("bad_config", message);
        }
        if (const rapidjson::Value* own = member(config.document, "sync_engine")) {
            if (const rapidjson::Value* refused = member(*own, "refused");
                refused != nullptr && is_string(*refused)) {
                return permanent_failure("refused", string_view_of(*refused));
            }
        }
        ApiRequest request;
        request.method = "POST";
        request.url = config.url;
        request.timeout_ms = config.timeout_ms;
        request.headers = {
            {"Content-Type", "application/json"},
            {"Accept", "application/json, application/problem+json"},
            {"Idempotency-Key", std::to_string(job.job_id) + "/" + std::to_string(job.attempts + 1)}};
        if (auto failure = add_headers(config, secrets, parse_url(config.url)->host, request)) {
            return *std::move(failure);
        }
        request.body = request_body(job, config);
        return request;
    }

    Outcome interpret(const Job&, const ApiRequest& request, const HttpResponse& response,
                      TimestampUs now) const override {
        return read_function_reply(request, response, now);
    }

    std::vector<ConfigError> validate(std::string_view config_json) const override {
        std::vector<ConfigError> errors;
        read_config(config_json, errors);
        return errors;
    }
};

}  // namespace

const Connector* function_connector() {
    static const FunctionConnector connector;
    return &connector;
}

}  // namespace sync_engine

// What the tests of connectors share: secrets from a list, and short ways into results.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "connectors/connector.hpp"
#include "connectors/json_text.hpp"

namespace sync_engine {

// Knows the secrets it is given, each for one host, and remembers what was asked for.
class ListedSecrets : public SecretResolver {
  public:
    ListedSecrets() = default;
    ListedSecrets(std::string host, std::map<std::string, std::string, std::less<>> values)
        : host_(std::move(host)), values_(std::move(values)) {}

    std::optional<std::string> env(std::string_view name, std::string_view host) override {
        return look_up("env", name, host);
    }
    std::optional<std::string> file(std::string_view name, std::string_view host) override {
        return look_up("file", name, host);
    }

    std::vector<std::string> asked;  // "env NAME for host"

  private:
    std::optional<std::string> look_up(const char* kind, std::string_view name, std::string_view host) {
        asked.push_back(std::string(kind) + " " + std::string(name) + " for " + std::string(host));
        const auto found = values_.find(std::string(kind) + " " + std::string(name));
        return found == values_.end() || host != host_ ? std::nullopt : std::optional(found->second);
    }

    std::string host_;
    std::map<std::string, std::string, std::less<>> values_;
};

// The text at `keys` of a JSON text: numbers as written, strings bare, anything else as JSON, "" when
// missing.
inline std::string json_at(std::string_view json, const std::vector<std::string>& keys) {
    rapidjson::Document document;
    std::string error;
    EXPECT_TRUE(parse_json(json, document, error)) << error << ": " << json;
    const rapidjson::Value* value = &document;
    for (const std::string& key : keys) {
        value = value == nullptr ? nullptr : member(*value, key);
    }
    if (value == nullptr) {
        return "";
    }
    return is_number(*value)   ? std::string(number_text(*value))
           : is_string(*value) ? std::string(string_view_of(*value))
                               : json_of(*value);
}

// "kind code: message" of a failure, "page" of a page, "request" of a request.
inline std::string summary(const Failure& failure) {
    return std::string(failure_kind_name(failure.kind)) + " " + json_at(failure.error_json, {"code"}) + ": " +
           json_at(failure.error_json, {"message"});
}
inline std::string summary(const Page&) {
    return "page";
}
inline std::string summary(const ApiRequest&) {
    return "request";
}
template <class... T>
std::string summary(const std::variant<T...>& either) {
    return std::visit([](const auto& one) { return summary(one); }, either);
}

// "path: message" of each, joined by "; ".
inline std::string listed(const std::vector<ConfigError>& errors) {
    std::string out;
    for (const ConfigError& e : errors) {
        out += (out.empty() ? "" : "; ") + e.path + ": " + e.message;
    }
    return out;
}

}  // namespace sync_engine

#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "connectors/connector.hpp"
#include "connectors/http_config.hpp"

namespace sync_engine {

// The text of a configured value for a request to `host`. Nothing when a template refers to a member of the
// cursor or the input that is missing; of the configuration that is a failure. A secret that does not resolve
// is a permanent failure that names the reference only.
std::variant<std::optional<std::string>, Failure> resolve_text(const ConfigText& value,
                                                               const TemplateScope& scope,
                                                               SecretResolver& secrets,
                                                               std::string_view host);

// What the configured authentication adds to a request.
struct Credentials {
    Headers headers;
    std::vector<std::pair<std::string, std::string>> parameters;
};

std::variant<Credentials, Failure> credentials(const AuthConfig& auth, const TemplateScope& scope,
                                               SecretResolver& secrets, std::string_view host);

// Names of the query parameters that carry a secret: they are kept out of cursors.
std::vector<std::string> secret_parameters(const HttpConfig& config);

// Every secret that went out with `request`, for keeping it out of messages.
std::vector<std::string> sent_secrets(const HttpConfig& config, const ApiRequest& request);

std::string base64(std::string_view bytes);
// What base64 was made of; malformed text ends it.
std::string base64_decoded(std::string_view text);

}  // namespace sync_engine

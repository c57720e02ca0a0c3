#include "connectors/auth.hpp"

#include <cstdint>

#include "connectors/http_failure.hpp"
#include "connectors/retry_after.hpp"
#include "connectors/url_text.hpp"

namespace sync_engine {
namespace {

constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::string_view kBearer = "Bearer ";
constexpr std::string_view kBasic = "Basic ";

// The header's value, and what follows a scheme such as "Bearer" in it.
void add_sent_header(const Headers& headers, std::string_view name, std::vector<std::string>& found) {
    const auto value = header(headers, name);
    if (!value) {
        return;
    }
    found.emplace_back(*value);
    if (const std::size_t blank = value->find(' '); blank != std::string_view::npos) {
        found.emplace_back(value->substr(blank + 1));
    }
    if (value->starts_with(kBasic)) {
        const std::string pair = base64_decoded(value->substr(kBasic.size()));
        found.push_back(pair.substr(pair.find(':') + 1));
    }
}

}  // namespace

std::variant<std::optional<std::string>, Failure> resolve_text(const ConfigText& value,
                                                               const TemplateScope& scope,
                                                               SecretResolver& secrets,
                                                               std::string_view host) {
    if (value.is_secret()) {
        const bool env = value.source == ConfigText::Source::env;
        auto secret = env ? secrets.env(value.name, host) : secrets.file(value.name, host);
        if (!secret) {
            return permanent_failure(
                "secret", std::string("secret reference ") + (env ? "$env " : "$file ") + value.name +
                              " does not resolve: it is not allowed for this host or has no value");
        }
        return secret;
    }
    Rendered rendered = render(value.text, scope, TextEncoding::plain);
    if (rendered.missing.empty()) {
        return std::optional(std::move(rendered.text));
    }
    // A cursor or an input may be missing; a listing without a configured filter would be one of other
    // things.
    if (rendered.absent && !rendered.missing.starts_with("config.")) {
        return std::optional<std::string>();
    }
    return permanent_failure("bad_config", "{{" + rendered.missing + "}} " + rendered.problem);
}

std::variant<Credentials, Failure> credentials(const AuthConfig& auth, const TemplateScope& scope,
                                               SecretResolver& secrets, std::string_view host) {
    Credentials result;
    if (auth.type == AuthConfig::Type::none) {
        return result;
    }
    auto resolved = resolve_text(auth.secret, scope, secrets, host);
    if (auto* failure = std::get_if<Failure>(&resolved)) {
        return std::move(*failure);
    }
    const std::string secret = std::get<std::optional<std::string>>(resolved).value_or("");
    if (auth.type == AuthConfig::Type::bearer) {
        result.headers.emplace_back("Authorization", std::string(kBearer) + secret);
    } else if (auth.type == AuthConfig::Type::basic) {
        auto name = resolve_text(auth.username, scope, secrets, host);
        if (auto* failure = std::get_if<Failure>(&name)) {
            return std::move(*failure);
        }
        const std::string pair = std::get<std::optional<std::string>>(name).value_or("") + ":" + secret;
        result.headers.emplace_back("Authorization", std::string(kBasic) + base64(pair));
    } else if (auth.in_query) {
        result.parameters.emplace_back(auth.name, secret);
    } else {
        result.headers.emplace_back(auth.name, secret);
    }
    return result;
}

std::vector<std::string> secret_parameters(const HttpConfig& config) {
    std::vector<std::string> names;
    for (const NamedText& entry : config.query) {
        if (entry.value.is_secret()) {
            names.push_back(entry.name);
        }
    }
    if (config.auth.type == AuthConfig::Type::api_key && config.auth.in_query) {
        names.push_back(config.auth.name);
    }
    return names;
}

std::vector<std::string> sent_secrets(const HttpConfig& config, const ApiRequest& request) {
    std::vector<std::string> found;
    for (const std::string& name : secret_parameters(config)) {
        for (std::string& value : parameter_values(request.url, name)) {
            found.push_back(std::move(value));
        }
    }
    add_sent_header(request.headers, "Authorization", found);
    // Some services take the key as the user name of basic authentication.
    const auto sent = header(request.headers, "Authorization");
    if (config.auth.username.is_secret() && sent && sent->starts_with(kBasic)) {
        const std::string pair = base64_decoded(sent->substr(kBasic.size()));
        found.push_back(pair.substr(0, pair.find(':')));
    }
    if (config.auth.type == AuthConfig::Type::api_key && !config.auth.in_query) {
        add_sent_header(request.headers, config.auth.name, found);
    }
    for (const NamedText& entry : config.headers) {
        if (entry.value.is_secret()) {
            add_sent_header(request.headers, entry.name, found);
        }
    }
    return found;
}

std::string base64(std::string_view bytes) {
    std::string out;
    for (std::size_t i = 0; i < bytes.size(); i += 3) {
        std::uint32_t group = 0;
        for (std::size_t k = 0; k < 3; ++k) {
            group = group << 8U | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0U);
        }
        for (std::size_t k = 0; k < 4; ++k) {
            out.push_back(i + k <= bytes.size() ? kAlphabet[group >> (18U - 6U * k) & 63U] : '=');
        }
    }
    return out;
}

std::string base64_decoded(std::string_view text) {
    std::string out;
    std::uint32_t group = 0;
    unsigned bits = 0;
    for (const char c : text) {
        const std::size_t value = kAlphabet.find(c);
        if (value == std::string_view::npos) {
            break;
        }
        group = (group << 6U | static_cast<std::uint32_t>(value)) & 0xFFFFFFU;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            out.push_back(static_cast<char>(group >> bits & 0xFFU));
        }
    }
    return out;
}

}  // namespace sync_engine

#include "executor/secrets.hpp"

#include <filesystem>
#include <fstream>
#include <system_error>
#include <utility>

namespace sync_engine {

namespace {

namespace fs = std::filesystem;

bool is_plain_name(std::string_view name) {
    return !name.empty() && name.front() != '.' && name.find('/') == std::string_view::npos &&
           name.find('\0') == std::string_view::npos;
}

// Where the file is once links are followed (mounted secrets are links); nothing when that is outside of
// `directory`.
std::optional<fs::path> file_inside(const std::string& directory, std::string_view name) {
    std::error_code error;
    const fs::path root = fs::canonical(directory, error);
    if (error) {
        return std::nullopt;
    }
    const fs::path target = fs::canonical(root / fs::path(name), error);
    if (error || !fs::is_regular_file(target, error)) {
        return std::nullopt;
    }
    const auto relative = target.lexically_relative(root);
    return relative.empty() || *relative.begin() == ".." ? std::nullopt : std::optional(target);
}

}  // namespace

std::optional<std::string> read_secret_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::string content(AllowedSecrets::kMaxFileBytes + 1, '\0');
    if (!file.read(content.data(), static_cast<std::streamsize>(content.size())) && !file.eof()) {
        return std::nullopt;
    }
    content.resize(static_cast<std::size_t>(file.gcount()));
    if (content.size() > AllowedSecrets::kMaxFileBytes) {
        return std::nullopt;
    }
    while (!content.empty() && (content.back() == '\n' || content.back() == '\r')) {
        content.pop_back();
    }
    return content.empty() ? std::nullopt : std::optional(std::move(content));
}

AllowedSecrets::AllowedSecrets(std::vector<SecretEnvRule> env_rules, std::vector<SecretDirRule> dir_rules,
                               Environment environment, Redactor& redactor)
    : env_rules_(std::move(env_rules)),
      dir_rules_(std::move(dir_rules)),
      environment_(std::move(environment)),
      redactor_(redactor) {}

std::optional<std::string> AllowedSecrets::env(std::string_view name, std::string_view host) {
    for (const SecretEnvRule& rule : env_rules_) {
        if (rule.name != name || !rule.hosts.admits(host)) {
            continue;
        }
        auto value = environment_(rule.name);
        if (value && !value->empty()) {
            redactor_.add(*value);
            return value;
        }
    }
    return std::nullopt;
}

std::optional<std::string> AllowedSecrets::file(std::string_view name, std::string_view host) {
    if (!is_plain_name(name)) {
        return std::nullopt;
    }
    for (const SecretDirRule& rule : dir_rules_) {
        if (!rule.hosts.admits(host)) {
            continue;
        }
        if (const auto path = file_inside(rule.path, name)) {
            if (auto value = read_secret_file(path->string())) {
                redactor_.add(*value);
                return value;
            }
        }
    }
    return std::nullopt;
}

}  // namespace sync_engine

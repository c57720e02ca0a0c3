#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "connectors/connector.hpp"
#include "executor/secret_rules.hpp"
#include "process/redactor.hpp"

namespace sync_engine {

// What a file holds, without line ends at its end; nothing when it cannot be read, is empty or longer than
// AllowedSecrets::kMaxFileBytes.
std::optional<std::string> read_secret_file(const std::string& path);

// Resolves {"$env"} and {"$file"} references, for names and hosts that the executor's own configuration
// allows. Each value that is handed out is made known to the redactor. Files are read anew each time, so that
// a rotated secret is taken up at the next request.
class AllowedSecrets : public SecretResolver {
  public:
    using Environment = std::function<std::optional<std::string>(const std::string& name)>;

    static constexpr std::size_t kMaxFileBytes = 64 * 1024;

    // `redactor` must outlive it.
    AllowedSecrets(std::vector<SecretEnvRule> env_rules, std::vector<SecretDirRule> dir_rules,
                   Environment environment, Redactor& redactor);

    std::optional<std::string> env(std::string_view name, std::string_view host) override;

    // A plain file name: no '/', no leading '.'. Symbolic links may not lead out of the directory. Line ends
    // at the end of the file are not part of the secret.
    std::optional<std::string> file(std::string_view name, std::string_view host) override;

  private:
    std::vector<SecretEnvRule> env_rules_;
    std::vector<SecretDirRule> dir_rules_;
    Environment environment_;
    Redactor& redactor_;
};

}  // namespace sync_engine

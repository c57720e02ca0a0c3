#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sync_engine {

// Hosts a secret may be sent to: exact names or "*.example.com"; empty means any host.
struct HostList {
    std::vector<std::string> hosts;

    // Case-insensitive; a port or a trailing dot in `host` is not expected.
    bool admits(std::string_view host) const;
};

// `{"$env": "NAME"}` may be resolved, for requests to `hosts`.
struct SecretEnvRule {
    std::string name;
    HostList hosts;
};

// `{"$file": "name"}` may be read from this directory, for requests to `hosts`.
struct SecretDirRule {
    std::string path;
    HostList hosts;
};

// Parses "NAME[@host[,host...]]" items separated by white space or ';' (and by ',' as long as no '@' was
// seen in the item, so that "A,B,C" is three names). The first element of each pair is the name or path.
// Nothing when an item has no name, or an '@' without a host: that must not come to mean "any host".
std::optional<std::vector<std::pair<std::string, HostList>>> parse_host_bound_list(std::string_view text);

}  // namespace sync_engine

#pragma once

#include <string_view>

#include "connectors/ascii.hpp"

namespace sync_engine {

// The token of "Bearer TOKEN"; empty for anything else.
inline std::string_view bearer_token(std::string_view authorization) {
    constexpr std::string_view scheme = "bearer ";
    if (authorization.size() <= scheme.size() ||
        !same_ignoring_case(authorization.substr(0, scheme.size()), scheme)) {
        return {};
    }
    authorization.remove_prefix(scheme.size());
    while (authorization.starts_with(' ')) {
        authorization.remove_prefix(1);
    }
    return authorization;
}

}  // namespace sync_engine

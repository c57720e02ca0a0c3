// URLs as text: what paging and secrets need beyond core/url.hpp.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/url.hpp"

namespace sync_engine {

// `reference`, which may be relative, as seen from `base`, an absolute URL (RFC 3986, 5.2; dot segments are
// left in for the HTTP client). The fragment is dropped. Nothing when the result is not a plain http or https
// URL.
std::optional<std::string> resolve_reference(std::string_view base, std::string_view reference);

// `url` without its parameters of those names, in whatever way they are percent-encoded.
std::string without_parameters(std::string_view url, std::span<const std::string> names);

// `url` with name=value as its only parameter of that name; both get percent-encoded.
std::string with_parameter(std::string_view url, const std::string& name, std::string_view value);

// The values of the parameters of that name, decoded.
std::vector<std::string> parameter_values(std::string_view url, std::string_view name);

// %41 and '+' decoded; malformed escapes are kept.
std::string percent_decoded(std::string_view text);

// Whether `hosts` has the URL's host, host:port or origin, whatever the case.
bool is_allowed_host(const Url& url, std::span<const std::string> hosts);

}  // namespace sync_engine

#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sync_engine {

// Percent-decoded, and `+` as a blank where it is a query's. Nothing where an escape is broken or what comes
// out is not UTF-8 or holds control characters.
std::optional<std::string> url_decode(std::string_view text, bool of_query);

// Names and values of a query string, decoded, in order; nothing where one of them cannot be decoded. What
// has no
// `=` has an empty value; empty pairs are passed by.
std::optional<std::vector<std::pair<std::string, std::string>>> parse_query(std::string_view query);

}  // namespace sync_engine

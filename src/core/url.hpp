// Strict reading of http and https URLs, for deciding whether two of them lead to the same place.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sync_engine {

struct Url {
    std::string scheme;  // "http" or "https"
    std::string host;    // lower case; an IPv6 address is canonical (RFC 5952) and carries no brackets
    std::uint16_t port;  // the scheme's default where none is written
    std::string target;  // path and query, beginning with '/'; the fragment is left out
    bool ipv6;

    // scheme://host:port, the port always written, an IPv6 host in brackets. Equal for equal origins.
    std::string origin() const;
};

inline constexpr std::size_t kMaxUrlLength = 8192;

// nullopt for whatever two parsers might read differently: another scheme, user information, a backslash,
// blanks or control characters anywhere; in the host a percent sign, a byte outside ASCII, an empty label
// (so also a trailing dot), an IPv6 zone, or a number that is not a plain dotted quad; a port that is empty,
// 0, above 65535 or has leading zeros.
std::optional<Url> parse_url(std::string_view text);

}  // namespace sync_engine

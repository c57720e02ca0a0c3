#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <sys/socket.h>

namespace sync_engine {

// An IPv4 or IPv6 address. IPv4 uses the first four bytes, in network order.
struct IpAddress {
    bool is_v6 = false;
    std::array<std::uint8_t, 16> bytes{};

    bool operator==(const IpAddress&) const = default;
};

// Address and port (host order) of a socket address; nothing for families other than IPv4 and IPv6.
struct Endpoint {
    IpAddress address;
    std::uint16_t port = 0;

    bool operator==(const Endpoint&) const = default;
};

// A block of addresses; `prefix` is 0..32 for IPv4 and 0..128 for IPv6.
struct AddressBlock {
    IpAddress base;
    int prefix = 0;

    bool contains(const IpAddress& address) const noexcept;
};

// Numeric text only ("10.0.0.1", "fe80::1"); names are never resolved here.
std::optional<IpAddress> parse_ip_address(std::string_view text);

// "10.0.0.0/8", "fd00::/8" or a single address.
std::optional<AddressBlock> parse_address_block(std::string_view text);

std::optional<Endpoint> endpoint_of(const sockaddr* address, socklen_t length) noexcept;

// The IPv4 address inside an IPv4-mapped, IPv4-compatible or NAT64 (RFC 6052 well-known prefix) address,
// else the address itself: what a connection to it would reach.
IpAddress effective_address(const IpAddress& address) noexcept;

// "10.0.0.1" or "fe80::1".
std::string ip_address_text(const IpAddress& address);

constexpr IpAddress ip_v4(std::uint8_t a, std::uint8_t b, std::uint8_t c, std::uint8_t d) {
    return IpAddress{false, {a, b, c, d}};
}

// The first groups of an IPv6 address; those that are left out are zero.
constexpr IpAddress ip_v6(std::array<std::uint16_t, 8> groups) {
    IpAddress address{true, {}};
    for (std::size_t i = 0; i < groups.size(); ++i) {
        address.bytes[2 * i] = static_cast<std::uint8_t>(groups[i] >> 8);
        address.bytes[2 * i + 1] = static_cast<std::uint8_t>(groups[i] & 0xff);
    }
    return address;
}

}  // namespace sync_engine

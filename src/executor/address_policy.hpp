#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

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

enum class AddressClass {
    global,
    unspecified,
    loopback,
    private_use,
    link_local,
    carrier_nat,
    multicast,
    documentation,
    transition,  // 6to4, Teredo and the like: they smuggle an IPv4 address past a filter
    reserved,
};

// Numeric text only ("10.0.0.1", "fe80::1"); names are never resolved here.
std::optional<IpAddress> parse_ip_address(std::string_view text);

// "10.0.0.0/8", "fd00::/8" or a single address.
std::optional<AddressBlock> parse_address_block(std::string_view text);

std::optional<Endpoint> endpoint_of(const sockaddr* address, socklen_t length) noexcept;

// The IPv4 address inside an IPv4-mapped, IPv4-compatible or NAT64 (RFC 6052 well-known prefix) address,
// else the address itself: what a connection to it would reach.
IpAddress effective_address(const IpAddress& address) noexcept;

// By the IANA special-purpose registries; IPv6 outside of 2000::/3 is never global.
AddressClass classify_address(const IpAddress& address) noexcept;

// Decides which addresses the executor may connect to. Global addresses are allowed, all others only where a
// rule says so. The database's own endpoint is refused whatever the rules say.
class AddressPolicy {
  public:
    // `rule` is "all", "loopback", "private" (RFC 1918 and unique local), an address or a block.
    // Returns false, and changes nothing, when it is none of them.
    bool allow(std::string_view rule);

    // An address of this machine: counts as internal even where it is a global one.
    void add_own_address(const IpAddress& address);

    // Replaces the endpoint that is always refused.
    void set_database_endpoint(std::optional<Endpoint> endpoint);

    bool permits(const Endpoint& endpoint) const noexcept;

    // For a socket address that curl is about to connect to; false for families that are not IP.
    bool permits(const sockaddr* address, socklen_t length) const noexcept;

  private:
    bool allow_all_ = false;
    std::vector<AddressBlock> allowed_;
    std::vector<IpAddress> own_;
    std::optional<Endpoint> database_;
};

}  // namespace sync_engine

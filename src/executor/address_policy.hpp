#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include <sys/socket.h>

#include "process/ip_address.hpp"

namespace sync_engine {

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

#pragma once

// Who asks: the peer of the socket, or whom a trusted proxy says it forwards for.

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/http_message.hpp"
#include "process/ip_address.hpp"

namespace sync_engine {

bool is_trusted_proxy(const IpAddress& peer, std::span<const AddressBlock> trusted);

// The address in a socket address as text: "203.0.113.7"; of an entry of X-Forwarded-For, port and brackets
// left out.
std::optional<IpAddress> forwarded_address(std::string_view entry);

// The address of the client: from the right of X-Forwarded-For the first that is no trusted proxy, if the
// peer is one; an entry that is no address ends the search, for who wrote it is not to be believed about what
// stands left of it.
IpAddress client_address(const IpAddress& peer, const HttpRequest& request,
                         std::span<const AddressBlock> trusted);

// Whether the request says of itself that it was forwarded, and client_address() cannot tell for whom: then
// that is the address of a proxy, before which anybody may stand.
bool hides_client(const IpAddress& peer, const HttpRequest& request, std::span<const AddressBlock> trusted);

// Whether the client came by TLS: the connection's own, or what a trusted peer says.
bool came_securely(const IpAddress& peer, bool own_tls, const HttpRequest& request,
                   std::span<const AddressBlock> trusted);

// What connections are counted by: the address, of IPv6 its /64, which one host commonly has to itself.
std::string client_key(const IpAddress& peer);

}  // namespace sync_engine

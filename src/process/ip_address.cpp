#include "process/ip_address.hpp"

#include <charconv>
#include <cstring>

#include <arpa/inet.h>
#include <netinet/in.h>

namespace sync_engine {

namespace {

constexpr AddressBlock kMappedV4{ip_v6({0, 0, 0, 0, 0, 0xffff, 0, 0}), 96};
constexpr AddressBlock kCompatibleV4{ip_v6({0}), 96};
constexpr AddressBlock kNat64{ip_v6({0x64, 0xff9b}), 96};

}  // namespace

bool AddressBlock::contains(const IpAddress& address) const noexcept {
    if (address.is_v6 != base.is_v6) {
        return false;
    }
    const auto whole = static_cast<std::size_t>(prefix / 8);
    const int rest = prefix % 8;
    if (std::memcmp(address.bytes.data(), base.bytes.data(), whole) != 0) {
        return false;
    }
    if (rest == 0) {
        return true;
    }
    const auto mask = static_cast<std::uint8_t>(0xff << (8 - rest));
    return ((address.bytes[whole] ^ base.bytes[whole]) & mask) == 0;
}

std::optional<IpAddress> parse_ip_address(std::string_view text) {
    const std::string copy(text);
    if (copy.find('\0') != std::string::npos) {
        return std::nullopt;
    }
    IpAddress address;
    if (inet_pton(AF_INET, copy.c_str(), address.bytes.data()) == 1) {
        return address;
    }
    address.is_v6 = true;
    if (inet_pton(AF_INET6, copy.c_str(), address.bytes.data()) == 1) {
        return address;
    }
    return std::nullopt;
}

std::optional<AddressBlock> parse_address_block(std::string_view text) {
    const std::size_t slash = text.find('/');
    const auto address = parse_ip_address(text.substr(0, slash));
    if (!address) {
        return std::nullopt;
    }
    const int longest = address->is_v6 ? 128 : 32;
    if (slash == std::string_view::npos) {
        return AddressBlock{*address, longest};
    }
    const std::string_view digits = text.substr(slash + 1);
    int prefix = -1;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), prefix);
    if (error != std::errc() || end != digits.data() + digits.size() || prefix < 0 || prefix > longest) {
        return std::nullopt;
    }
    return AddressBlock{*address, prefix};
}

std::optional<Endpoint> endpoint_of(const sockaddr* address, socklen_t length) noexcept {
    Endpoint endpoint;
    if (address == nullptr) {
        return std::nullopt;
    }
    if (address->sa_family == AF_INET && length >= sizeof(sockaddr_in)) {
        sockaddr_in in{};
        std::memcpy(&in, address, sizeof(in));
        std::memcpy(endpoint.address.bytes.data(), &in.sin_addr, 4);
        endpoint.port = ntohs(in.sin_port);
        return endpoint;
    }
    if (address->sa_family == AF_INET6 && length >= sizeof(sockaddr_in6)) {
        sockaddr_in6 in{};
        std::memcpy(&in, address, sizeof(in));
        endpoint.address.is_v6 = true;
        std::memcpy(endpoint.address.bytes.data(), &in.sin6_addr, 16);
        endpoint.port = ntohs(in.sin6_port);
        return endpoint;
    }
    return std::nullopt;
}

IpAddress effective_address(const IpAddress& address) noexcept {
    if (!address.is_v6) {
        return address;
    }
    const auto& b = address.bytes;
    // ::, ::1 and their neighbours below 1.0.0.0 are IPv6 addresses of their own, not embedded IPv4.
    const bool compatible = kCompatibleV4.contains(address) && b[12] != 0;
    if (kMappedV4.contains(address) || kNat64.contains(address) || compatible) {
        return IpAddress{false, {b[12], b[13], b[14], b[15]}};
    }
    return address;
}

std::string ip_address_text(const IpAddress& address) {
    std::array<char, INET6_ADDRSTRLEN> text{};
    inet_ntop(address.is_v6 ? AF_INET6 : AF_INET, address.bytes.data(), text.data(), text.size());
    return text.data();
}

}  // namespace sync_engine

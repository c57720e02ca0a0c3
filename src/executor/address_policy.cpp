#include "executor/address_policy.hpp"

#include <algorithm>
#include <charconv>
#include <cstring>

#include <arpa/inet.h>
#include <netinet/in.h>

namespace sync_engine {

namespace {

struct SpecialBlock {
    AddressBlock block;
    AddressClass kind;
};

constexpr IpAddress v4(std::uint8_t a, std::uint8_t b, std::uint8_t c, std::uint8_t d) {
    return IpAddress{false, {a, b, c, d}};
}

constexpr IpAddress v6(std::array<std::uint16_t, 8> groups) {
    IpAddress address{true, {}};
    for (std::size_t i = 0; i < groups.size(); ++i) {
        address.bytes[2 * i] = static_cast<std::uint8_t>(groups[i] >> 8);
        address.bytes[2 * i + 1] = static_cast<std::uint8_t>(groups[i] & 0xff);
    }
    return address;
}

constexpr std::array kSpecialV4{
    SpecialBlock{{v4(0, 0, 0, 0), 8}, AddressClass::unspecified},
    SpecialBlock{{v4(10, 0, 0, 0), 8}, AddressClass::private_use},
    SpecialBlock{{v4(100, 64, 0, 0), 10}, AddressClass::carrier_nat},
    SpecialBlock{{v4(127, 0, 0, 0), 8}, AddressClass::loopback},
    SpecialBlock{{v4(169, 254, 0, 0), 16}, AddressClass::link_local},
    SpecialBlock{{v4(172, 16, 0, 0), 12}, AddressClass::private_use},
    SpecialBlock{{v4(192, 0, 0, 0), 24}, AddressClass::reserved},
    SpecialBlock{{v4(192, 0, 2, 0), 24}, AddressClass::documentation},
    SpecialBlock{{v4(192, 88, 99, 0), 24}, AddressClass::transition},
    SpecialBlock{{v4(192, 168, 0, 0), 16}, AddressClass::private_use},
    SpecialBlock{{v4(198, 18, 0, 0), 15}, AddressClass::reserved},
    SpecialBlock{{v4(198, 51, 100, 0), 24}, AddressClass::documentation},
    SpecialBlock{{v4(203, 0, 113, 0), 24}, AddressClass::documentation},
    SpecialBlock{{v4(224, 0, 0, 0), 4}, AddressClass::multicast},
    SpecialBlock{{v4(240, 0, 0, 0), 4}, AddressClass::reserved},
};

constexpr AddressBlock kGlobalUnicastV6{v6({0x2000}), 3};

constexpr std::array kSpecialV6{
    SpecialBlock{{v6({0, 0, 0, 0, 0, 0, 0, 0}), 128}, AddressClass::unspecified},
    SpecialBlock{{v6({0, 0, 0, 0, 0, 0, 0, 1}), 128}, AddressClass::loopback},
    SpecialBlock{{v6({0xfc00}), 7}, AddressClass::private_use},
    SpecialBlock{{v6({0xfe80}), 10}, AddressClass::link_local},
    SpecialBlock{{v6({0xfec0}), 10}, AddressClass::private_use},
    SpecialBlock{{v6({0xff00}), 8}, AddressClass::multicast},
    SpecialBlock{{v6({0x2001, 0}), 32}, AddressClass::transition},
    SpecialBlock{{v6({0x2001, 0}), 23}, AddressClass::reserved},
    SpecialBlock{{v6({0x2001, 0x0db8}), 32}, AddressClass::documentation},
    SpecialBlock{{v6({0x2002}), 16}, AddressClass::transition},
    SpecialBlock{{v6({0x3fff}), 20}, AddressClass::documentation},
};

constexpr AddressBlock kMappedV4{v6({0, 0, 0, 0, 0, 0xffff, 0, 0}), 96};
constexpr AddressBlock kCompatibleV4{v6({0}), 96};
constexpr AddressBlock kNat64{v6({0x64, 0xff9b}), 96};

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

AddressClass classify_address(const IpAddress& raw) noexcept {
    const IpAddress address = effective_address(raw);
    const auto matches = [&](const SpecialBlock& special) { return special.block.contains(address); };
    if (!address.is_v6) {
        const auto found = std::find_if(kSpecialV4.begin(), kSpecialV4.end(), matches);
        return found == kSpecialV4.end() ? AddressClass::global : found->kind;
    }
    const auto found = std::find_if(kSpecialV6.begin(), kSpecialV6.end(), matches);
    if (found != kSpecialV6.end()) {
        return found->kind;
    }
    return kGlobalUnicastV6.contains(address) ? AddressClass::global : AddressClass::reserved;
}

bool AddressPolicy::allow(std::string_view rule) {
    if (rule == "all") {
        allow_all_ = true;
        return true;
    }
    if (rule == "loopback") {
        return allow("127.0.0.0/8") && allow("::1");
    }
    if (rule == "private") {
        return allow("10.0.0.0/8") && allow("172.16.0.0/12") && allow("192.168.0.0/16") && allow("fc00::/7");
    }
    const auto block = parse_address_block(rule);
    if (!block) {
        return false;
    }
    allowed_.push_back(*block);
    return true;
}

void AddressPolicy::add_own_address(const IpAddress& address) {
    own_.push_back(effective_address(address));
}

void AddressPolicy::set_database_endpoint(std::optional<Endpoint> endpoint) {
    if (endpoint) {
        endpoint->address = effective_address(endpoint->address);
    }
    database_ = endpoint;
}

bool AddressPolicy::permits(const Endpoint& endpoint) const noexcept {
    const IpAddress address = effective_address(endpoint.address);
    if (database_ && *database_ == Endpoint{address, endpoint.port}) {
        return false;
    }
    const auto holds = [&](const AddressBlock& block) {
        return block.contains(address) || block.contains(endpoint.address);
    };
    if (allow_all_ || std::any_of(allowed_.begin(), allowed_.end(), holds)) {
        return true;
    }
    return classify_address(address) == AddressClass::global &&
           std::find(own_.begin(), own_.end(), address) == own_.end();
}

bool AddressPolicy::permits(const sockaddr* address, socklen_t length) const noexcept {
    const auto endpoint = endpoint_of(address, length);
    return endpoint && permits(*endpoint);
}

}  // namespace sync_engine

#include "executor/address_policy.hpp"

#include <algorithm>
#include <array>

namespace sync_engine {

namespace {

struct SpecialBlock {
    AddressBlock block;
    AddressClass kind;
};

constexpr std::array kSpecialV4{
    SpecialBlock{{ip_v4(0, 0, 0, 0), 8}, AddressClass::unspecified},
    SpecialBlock{{ip_v4(10, 0, 0, 0), 8}, AddressClass::private_use},
    SpecialBlock{{ip_v4(100, 64, 0, 0), 10}, AddressClass::carrier_nat},
    SpecialBlock{{ip_v4(127, 0, 0, 0), 8}, AddressClass::loopback},
    SpecialBlock{{ip_v4(169, 254, 0, 0), 16}, AddressClass::link_local},
    SpecialBlock{{ip_v4(172, 16, 0, 0), 12}, AddressClass::private_use},
    SpecialBlock{{ip_v4(192, 0, 0, 0), 24}, AddressClass::reserved},
    SpecialBlock{{ip_v4(192, 0, 2, 0), 24}, AddressClass::documentation},
    SpecialBlock{{ip_v4(192, 88, 99, 0), 24}, AddressClass::transition},
    SpecialBlock{{ip_v4(192, 168, 0, 0), 16}, AddressClass::private_use},
    SpecialBlock{{ip_v4(198, 18, 0, 0), 15}, AddressClass::reserved},
    SpecialBlock{{ip_v4(198, 51, 100, 0), 24}, AddressClass::documentation},
    SpecialBlock{{ip_v4(203, 0, 113, 0), 24}, AddressClass::documentation},
    SpecialBlock{{ip_v4(224, 0, 0, 0), 4}, AddressClass::multicast},
    SpecialBlock{{ip_v4(240, 0, 0, 0), 4}, AddressClass::reserved},
};

constexpr AddressBlock kGlobalUnicastV6{ip_v6({0x2000}), 3};

constexpr std::array kSpecialV6{
    SpecialBlock{{ip_v6({0, 0, 0, 0, 0, 0, 0, 0}), 128}, AddressClass::unspecified},
    SpecialBlock{{ip_v6({0, 0, 0, 0, 0, 0, 0, 1}), 128}, AddressClass::loopback},
    SpecialBlock{{ip_v6({0xfc00}), 7}, AddressClass::private_use},
    SpecialBlock{{ip_v6({0xfe80}), 10}, AddressClass::link_local},
    SpecialBlock{{ip_v6({0xfec0}), 10}, AddressClass::private_use},
    SpecialBlock{{ip_v6({0xff00}), 8}, AddressClass::multicast},
    SpecialBlock{{ip_v6({0x2001, 0}), 32}, AddressClass::transition},
    SpecialBlock{{ip_v6({0x2001, 0}), 23}, AddressClass::reserved},
    SpecialBlock{{ip_v6({0x2001, 0x0db8}), 32}, AddressClass::documentation},
    SpecialBlock{{ip_v6({0x2002}), 16}, AddressClass::transition},
    SpecialBlock{{ip_v6({0x3fff}), 20}, AddressClass::documentation},
};

}  // namespace

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

#include "gateway/client_address.hpp"

#include <algorithm>
#include <array>

#include "connectors/ascii.hpp"

namespace sync_engine {

namespace {

// The entries of all headers of that name, in order, as if they were one.
std::vector<std::string_view> entries_of(const HttpRequest& request, std::string_view name) {
    std::vector<std::string_view> entries;
    for (const auto& [header, value] : request.headers) {
        if (header != name) {
            continue;
        }
        std::string_view rest = value;
        for (std::size_t comma = 0; comma != std::string_view::npos;) {
            comma = rest.find(',');
            entries.push_back(trimmed(rest.substr(0, comma)));
            rest.remove_prefix(comma == std::string_view::npos ? 0 : comma + 1);
        }
    }
    return entries;
}

}  // namespace

bool is_trusted_proxy(const IpAddress& peer, std::span<const AddressBlock> trusted) {
    const IpAddress address = effective_address(peer);
    return std::any_of(trusted.begin(), trusted.end(), [&](const AddressBlock& block) {
        return block.contains(address) || block.contains(peer);
    });
}

std::optional<IpAddress> forwarded_address(std::string_view entry) {
    if (entry.starts_with('[')) {
        const std::size_t end = entry.find(']');
        return end == std::string_view::npos ? std::nullopt : parse_ip_address(entry.substr(1, end - 1));
    }
    const std::size_t colon = entry.find(':');
    const bool has_port =
        colon != std::string_view::npos && entry.find(':', colon + 1) == std::string_view::npos;
    return parse_ip_address(has_port ? entry.substr(0, colon) : entry);
}

IpAddress client_address(const IpAddress& peer, const HttpRequest& request,
                         std::span<const AddressBlock> trusted) {
    IpAddress client = effective_address(peer);
    if (trusted.empty() || !is_trusted_proxy(peer, trusted)) {
        return client;
    }
    const auto entries = entries_of(request, "x-forwarded-for");
    for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
        const auto address = forwarded_address(*entry);
        if (!address) {
            break;
        }
        client = effective_address(*address);
        if (!is_trusted_proxy(*address, trusted)) {
            break;
        }
    }
    return client;
}

bool hides_client(const IpAddress& peer, const HttpRequest& request, std::span<const AddressBlock> trusted) {
    constexpr std::array<std::string_view, 6> names{
        "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "forwarded", "via"};
    const bool forwarded =
        std::ranges::any_of(names, [&](std::string_view name) { return request.header(name) != nullptr; });
    return forwarded && (!is_trusted_proxy(peer, trusted) || request.header("x-forwarded-for") == nullptr);
}

bool came_securely(const IpAddress& peer, bool own_tls, const HttpRequest& request,
                   std::span<const AddressBlock> trusted) {
    if (trusted.empty() || !is_trusted_proxy(peer, trusted)) {
        return own_tls;
    }
    const auto entries = entries_of(request, "x-forwarded-proto");
    return entries.empty() ? own_tls : same_ignoring_case(entries.back(), "https");
}

std::string client_key(const IpAddress& peer) {
    IpAddress address = effective_address(peer);
    if (address.is_v6) {
        std::fill(address.bytes.begin() + 8, address.bytes.end(), std::uint8_t{0});
    }
    return ip_address_text(address);
}

}  // namespace sync_engine

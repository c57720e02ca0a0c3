#include "core/url.hpp"

#include <algorithm>
#include <array>
#include <cstdio>

namespace sync_engine {
namespace {

using Ipv6Groups = std::array<std::uint16_t, 8>;

constexpr std::size_t kMaxHostLength = 253;
constexpr std::size_t kMaxLabelLength = 63;

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

char to_lower(char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

int hex_value(char c) {
    const char lower = to_lower(c);
    return is_digit(lower) ? lower - '0' : lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

bool all_digits(std::string_view text) {
    for (const char c : text) {
        if (!is_digit(c)) {
            return false;
        }
    }
    return !text.empty();
}

// A decimal without leading zeros, at most `max`.
std::optional<std::uint32_t> parse_decimal(std::string_view text, std::uint32_t max) {
    if (!all_digits(text) || text.size() > 5 || (text.size() > 1 && text.front() == '0')) {
        return std::nullopt;
    }
    std::uint32_t value = 0;
    for (const char c : text) {
        value = value * 10 + static_cast<std::uint32_t>(c - '0');
    }
    return value <= max ? std::optional(value) : std::nullopt;
}

std::optional<std::uint32_t> parse_ipv4(std::string_view text) {
    std::uint32_t address = 0;
    for (int part = 0; part < 4; ++part) {
        const std::size_t end = part < 3 ? text.find('.') : text.size();
        if (end == std::string_view::npos) {
            return std::nullopt;
        }
        const auto byte = parse_decimal(text.substr(0, end), 255);
        if (!byte) {
            return std::nullopt;
        }
        address = address << 8 | *byte;
        text.remove_prefix(part < 3 ? end + 1 : end);
    }
    return address;
}

// Groups of one side of "::", the last of which may be an IPv4 address where `ipv4_allowed`. The number of
// groups read, or -1.
int parse_ipv6_side(std::string_view text, bool ipv4_allowed, Ipv6Groups& groups) {
    int count = 0;
    while (!text.empty()) {
        const std::size_t colon = text.find(':');
        const std::string_view part = text.substr(0, colon);
        const bool last = colon == std::string_view::npos;
        if (last && ipv4_allowed && part.find('.') != std::string_view::npos) {
            const auto address = parse_ipv4(part);
            if (!address || count > 6) {
                return -1;
            }
            groups[count++] = static_cast<std::uint16_t>(*address >> 16);
            groups[count++] = static_cast<std::uint16_t>(*address & 0xffff);
            return count;
        }
        if (part.empty() || part.size() > 4 || count > 7) {
            return -1;
        }
        int value = 0;
        for (const char c : part) {
            const int digit = hex_value(c);
            if (digit < 0) {
                return -1;
            }
            value = value * 16 + digit;
        }
        groups[count++] = static_cast<std::uint16_t>(value);
        if (last) {
            return count;
        }
        text.remove_prefix(colon + 1);
        if (text.empty()) {
            return -1;
        }
    }
    return count;
}

std::optional<Ipv6Groups> parse_ipv6(std::string_view text) {
    Ipv6Groups groups{};
    const std::size_t gap = text.find("::");
    if (gap == std::string_view::npos) {
        return parse_ipv6_side(text, true, groups) == 8 ? std::optional(groups) : std::nullopt;
    }
    Ipv6Groups tail{};
    const int before = parse_ipv6_side(text.substr(0, gap), false, groups);
    const int after = parse_ipv6_side(text.substr(gap + 2), true, tail);
    if (before < 0 || after < 0 || before + after > 7) {
        return std::nullopt;
    }
    for (int i = 0; i < after; ++i) {
        groups[8 - after + i] = tail[i];
    }
    return groups;
}

// RFC 5952: no leading zeros, the first longest run of two or more zero groups as "::".
std::string format_ipv6(const Ipv6Groups& groups) {
    int best_start = -1;
    int best_length = 1;
    for (int i = 0; i < 8; ++i) {
        int length = 0;
        while (i + length < 8 && groups[i + length] == 0) {
            ++length;
        }
        if (length > best_length) {
            best_start = i;
            best_length = length;
        }
        i += length;
    }
    std::string text;
    for (int i = 0; i < 8; ++i) {
        if (i == best_start) {
            text += "::";
            i += best_length - 1;
            continue;
        }
        if (!text.empty() && text.back() != ':') {
            text += ':';
        }
        char group[8];
        std::snprintf(group, sizeof group, "%x", static_cast<unsigned>(groups[i]));
        text += group;
    }
    return text;
}

// Resolvers read "127.1", "0x7f.1" and "2130706433" as addresses: a last label that looks like a number is
// accepted only in a plain dotted quad.
bool looks_like_number(std::string_view label) {
    return all_digits(label) || (label.size() > 1 && label[0] == '0' && (label[1] == 'x' || label[1] == 'X'));
}

bool parse_host_name(std::string_view text, std::string& host) {
    if (text.empty() || text.size() > kMaxHostLength) {
        return false;
    }
    std::size_t label_start = 0;
    for (std::size_t i = 0; i <= text.size(); ++i) {
        if (i == text.size() || text[i] == '.') {
            if (i == label_start || i - label_start > kMaxLabelLength) {
                return false;
            }
            if (i < text.size()) {
                host += '.';
                label_start = i + 1;
            }
            continue;
        }
        const char c = to_lower(text[i]);
        if (!is_digit(c) && !(c >= 'a' && c <= 'z') && c != '-' && c != '_') {
            return false;
        }
        host += c;
    }
    return !looks_like_number(text.substr(label_start)) || parse_ipv4(text).has_value();
}

// Splits host[:port] and fills those two fields.
bool parse_authority(std::string_view authority, Url& url) {
    std::string_view port_text;
    bool has_port = false;
    if (!authority.empty() && authority.front() == '[') {
        const std::size_t close = authority.find(']');
        if (close == std::string_view::npos) {
            return false;
        }
        const auto groups = parse_ipv6(authority.substr(1, close - 1));
        if (!groups) {
            return false;
        }
        url.ipv6 = true;
        url.host = format_ipv6(*groups);
        authority.remove_prefix(close + 1);
        has_port = !authority.empty();
        if (has_port && authority.front() != ':') {
            return false;
        }
        port_text = has_port ? authority.substr(1) : std::string_view();
    } else {
        const std::size_t colon = authority.find(':');
        has_port = colon != std::string_view::npos;
        port_text = has_port ? authority.substr(colon + 1) : std::string_view();
        if (!parse_host_name(authority.substr(0, colon), url.host)) {
            return false;
        }
    }
    if (has_port) {
        const auto port = parse_decimal(port_text, 65'535);
        if (!port || *port == 0) {
            return false;
        }
        url.port = static_cast<std::uint16_t>(*port);
    }
    return true;
}

bool take_scheme(std::string_view& text, Url& url) {
    const std::size_t end = text.find("://");
    if (end != 4 && end != 5) {
        return false;
    }
    for (const char c : text.substr(0, end)) {
        url.scheme += to_lower(c);
    }
    if (url.scheme != "http" && url.scheme != "https") {
        return false;
    }
    url.port = url.scheme == "http" ? 80 : 443;
    text.remove_prefix(end + 3);
    return true;
}

}  // namespace

std::string Url::origin() const {
    return scheme + "://" + (ipv6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

std::optional<Url> parse_url(std::string_view text) {
    if (text.size() > kMaxUrlLength) {
        return std::nullopt;
    }
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte <= 0x20 || byte == 0x7f || c == '\\') {
            return std::nullopt;
        }
    }
    Url url{};
    if (!take_scheme(text, url)) {
        return std::nullopt;
    }
    const std::size_t authority_end = std::min(text.find_first_of("/?#"), text.size());
    if (!parse_authority(text.substr(0, authority_end), url)) {
        return std::nullopt;
    }
    text.remove_prefix(authority_end);
    text = text.substr(0, text.find('#'));
    url.target = text.empty() || text.front() != '/' ? "/" : "";
    url.target += text;
    return url;
}

}  // namespace sync_engine

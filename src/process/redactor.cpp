#include "process/redactor.hpp"

#include <algorithm>
#include <cstring>

#include "process/json_string.hpp"

namespace sync_engine {

namespace {

constexpr std::string_view kMask = "[redacted]";

std::uint32_t prefix_of(std::string_view text) {
    std::uint32_t prefix = 0;
    std::memcpy(&prefix, text.data(), Redactor::kShortest);
    return prefix;
}

// Knuth's multiplicative hash; the high half is the well mixed one.
std::size_t hash_of(std::uint32_t prefix) {
    return (prefix * 2654435761U) >> 16;
}

std::string percent_encoded(std::string_view value) {
    constexpr std::string_view digits = "0123456789ABCDEF";
    std::string out;
    for (const char c : value) {
        const auto byte = static_cast<unsigned char>(c);
        const bool plain = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
                           (byte >= '0' && byte <= '9') || c == '-' || c == '.' || c == '_' || c == '~';
        if (plain) {
            out += c;
        } else {
            out += '%';
            out += digits[byte >> 4];
            out += digits[byte & 15];
        }
    }
    return out;
}

std::string json_escaped(std::string_view value) {
    std::string quoted;
    append_json_string(quoted, value);
    return quoted.substr(1, quoted.size() - 2);
}

}  // namespace

void Redactor::add(std::string_view value) {
    if (value.size() < kShortest) {
        return;
    }
    remember(std::string(value));
    remember(percent_encoded(value));
    remember(json_escaped(value));
}

void Redactor::remember(std::string value) {
    std::vector<std::string>& bucket = by_prefix_[prefix_of(value)];
    if (std::find(bucket.begin(), bucket.end(), value) != bucket.end()) {
        return;
    }
    filter_.set(hash_of(prefix_of(value)) % kFilterBits);
    const auto longer = [](const std::string& a, const std::string& b) { return a.size() > b.size(); };
    bucket.insert(std::upper_bound(bucket.begin(), bucket.end(), value, longer), std::move(value));
}

std::string_view Redactor::match(std::string_view text) const {
    const std::uint32_t prefix = prefix_of(text);
    if (!filter_.test(hash_of(prefix) % kFilterBits)) {
        return {};
    }
    const auto bucket = by_prefix_.find(prefix);
    if (bucket == by_prefix_.end()) {
        return {};
    }
    const auto found = std::find_if(bucket->second.begin(), bucket->second.end(),
                                    [&](const std::string& value) { return text.starts_with(value); });
    return found == bucket->second.end() ? std::string_view() : std::string_view(*found);
}

void Redactor::scrub_in_place(std::string& text) const {
    if (by_prefix_.empty()) {
        return;
    }
    for (std::size_t at = 0; at + kShortest <= text.size();) {
        const std::size_t length = match(std::string_view(text).substr(at)).size();
        if (length > 0) {
            text.replace(at, length, kMask);
        }
        at += length > 0 ? kMask.size() : 1;
    }
}

std::string Redactor::scrub(std::string_view text) const {
    std::string copy(text);
    scrub_in_place(copy);
    return copy;
}

}  // namespace sync_engine

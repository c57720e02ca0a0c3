#include "executor/redactor.hpp"

#include <algorithm>

#include "executor/json_string.hpp"

namespace sync_engine {

namespace {

constexpr std::string_view kMask = "[redacted]";

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
    if (std::find(values_.begin(), values_.end(), value) != values_.end()) {
        return;
    }
    const auto shorter = [](const std::string& known, const std::string& added) {
        return known.size() > added.size();
    };
    values_.insert(std::lower_bound(values_.begin(), values_.end(), value, shorter), std::move(value));
}

void Redactor::scrub_in_place(std::string& text) const {
    for (const std::string& value : values_) {
        for (std::size_t at = text.find(value); at != std::string::npos; at = text.find(value, at)) {
            text.replace(at, value.size(), kMask);
            at += kMask.size();
        }
    }
}

std::string Redactor::scrub(std::string_view text) const {
    std::string copy(text);
    scrub_in_place(copy);
    return copy;
}

}  // namespace sync_engine

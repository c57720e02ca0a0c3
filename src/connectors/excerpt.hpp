#pragma once

#include <cstddef>
#include <string_view>

namespace sync_engine {

inline constexpr std::size_t kExcerptBytes = 300;

// The beginning of `text`, at most `size` bytes of it, for an error message. A word is not cut in two: known
// secrets are removed from messages later, and what is left of one that was cut would not be recognised.
inline std::string_view excerpt_of(std::string_view text, std::size_t size = kExcerptBytes) {
    const auto in_word = [&](std::size_t i) {
        const char c = text[i];
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
               std::string_view("-._~+/=%\\:@!$").find(c) != std::string_view::npos;
    };
    if (text.size() <= size) {
        return text;
    }
    while (size > 0 && in_word(size) && in_word(size - 1)) {
        --size;
    }
    return text.substr(0, size);
}

}  // namespace sync_engine

#pragma once

#include <cstddef>
#include <string_view>

namespace sync_engine {

// Nesting beyond this is refused: what stores and shows a body shall not have to reckon with more.
inline constexpr int kMaxBodyDepth = 64;

// Whether brackets outside strings are nested deeper than that.
inline bool is_nested_deeper(std::string_view json, int depth) noexcept {
    int level = 0;
    bool in_string = false;
    for (std::size_t i = 0; i < json.size(); ++i) {
        const char c = json[i];
        if (in_string) {
            i += c == '\\' ? 1 : 0;
            in_string = c != '"';
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++level > depth) {
                return true;
            }
        } else if (c == '}' || c == ']') {
            --level;
        }
    }
    return false;
}

}  // namespace sync_engine

#include "gateway/request_id.hpp"

#include <algorithm>

namespace sync_engine {

bool is_request_id(std::string_view text) {
    constexpr std::size_t kLongest = 64;
    return !text.empty() && text.size() <= kLongest && std::all_of(text.begin(), text.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
               c == '_' || c == '-';
    });
}

std::string RequestIds::make() {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string id;
    for (const std::uint64_t half : {random_(), random_()}) {
        for (unsigned shift = 0; shift < 64; shift += 4) {
            id += digits[(half >> shift) & 15U];
        }
    }
    return id;
}

}  // namespace sync_engine

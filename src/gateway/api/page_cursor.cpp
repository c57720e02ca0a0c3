#include "gateway/api/page_cursor.hpp"

#include <algorithm>

#include <rapidjson/document.h>

#include "notify/base64.hpp"

namespace sync_engine {

namespace {

constexpr std::size_t kMaxCursor = 4096;

// FNV-1a: tells filters apart, which nobody gains from forging.
std::string fingerprint(std::string_view text) {
    std::uint64_t hash = 0xcbf29ce484222325U;
    for (const char c : text) {
        hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
    }
    std::string out;
    for (int shift = 60; shift >= 0; shift -= 4) {
        out += "0123456789abcdef"[(hash >> shift) & 0xf];
    }
    return out;
}

// Sort, direction and filters: what a cursor is only good for.
std::string head_of(const PageOrder& order, std::string_view filters) {
    return (order.descending ? "-" : "+") + order.sort + ":" + fingerprint(filters) + ":";
}

// Base64 for URLs, without padding.
std::string to_url(std::string text) {
    std::replace(text.begin(), text.end(), '+', '-');
    std::replace(text.begin(), text.end(), '/', '_');
    text.erase(text.find_last_not_of('=') + 1);
    return text;
}

std::string from_url(std::string text) {
    std::replace(text.begin(), text.end(), '-', '+');
    std::replace(text.begin(), text.end(), '_', '/');
    text.append((4 - text.size() % 4) % 4, '=');
    return text;
}

bool is_array(const std::string& text) {
    if (text.find('\0') != std::string::npos) {
        return false;  // where the parser would stop
    }
    rapidjson::Document document;
    document.Parse<rapidjson::kParseIterativeFlag>(text.data(), text.size());
    return !document.HasParseError() && document.IsArray();
}

}  // namespace

std::string make_page_cursor(const PageOrder& order, std::string_view filters, std::string_view key) {
    return to_url(base64_encode(head_of(order, filters) + std::string(key)));
}

bool read_page_cursor(std::string_view cursor, std::string_view filters, PageOrder& order) {
    if (cursor.size() > kMaxCursor) {
        return false;
    }
    const auto text = base64_decode(from_url(std::string(cursor)));
    const std::string head = head_of(order, filters);
    if (!text || text->substr(0, head.size()) != head) {
        return false;
    }
    order.after = text->substr(head.size());
    return is_array(order.after);
}

}  // namespace sync_engine

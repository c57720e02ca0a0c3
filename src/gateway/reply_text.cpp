#include "gateway/reply_text.hpp"

#include <algorithm>
#include <array>
#include <cstdio>

#include "connectors/ascii.hpp"
#include "gateway/problem.hpp"
#include "gateway/request_rules.hpp"

namespace sync_engine {

namespace {

constexpr std::array<std::string_view, 9> kOwn{"connection", "content-length", "transfer-encoding",
                                               "keep-alive", "date",           "x-request-id",
                                               "upgrade",    "trailer",        "x-content-type-options"};

bool is_own(std::string_view name) {
    return std::any_of(kOwn.begin(), kOwn.end(),
                       [&](std::string_view own) { return same_ignoring_case(own, name); });
}

bool is_value(std::string_view value) {
    return std::none_of(value.begin(), value.end(), [](char c) {
        return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f;
    });
}

void append_field(std::string& out, std::string_view name, std::string_view value) {
    out += name;
    out += ": ";
    out += value;
    out += "\r\n";
}

void append_framing(std::string& out, const HttpReply& reply, const ReplyContext& context) {
    if (reply.events) {
        if (!context.is_http_1_0) {
            append_field(out, "Transfer-Encoding", "chunked");
        }
        return append_field(out, "Connection", "close");
    }
    if (may_have_body(reply.status)) {
        append_field(out, "Content-Length", std::to_string(reply.body.size()));
    }
    if (!context.keep_alive) {
        append_field(out, "Connection", "close");
    } else if (context.is_http_1_0) {
        append_field(out, "Connection", "keep-alive");
    }
}

}  // namespace

std::string http_date(std::time_t time) {
    constexpr std::array<std::string_view, 7> days{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    constexpr std::array<std::string_view, 12> months{"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                      "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    std::tm utc{};
    gmtime_r(&time, &utc);
    std::array<char, 64> text{};
    const int length = std::snprintf(text.data(), text.size(), "%.3s, %02d %.3s %d %02d:%02d:%02d GMT",
                                     days[static_cast<std::size_t>(utc.tm_wday)].data(), utc.tm_mday,
                                     months[static_cast<std::size_t>(utc.tm_mon)].data(), utc.tm_year + 1900,
                                     utc.tm_hour, utc.tm_min, utc.tm_sec);
    return {text.data(), static_cast<std::size_t>(length)};
}

bool may_have_body(unsigned status) {
    return status >= 200 && status != 204 && status != 304;
}

std::string reply_head(const HttpReply& reply, const ReplyContext& context) {
    std::string out = context.is_http_1_0 ? "HTTP/1.0 " : "HTTP/1.1 ";
    out += std::to_string(reply.status);
    out += ' ';
    out += status_phrase(reply.status);
    out += "\r\n";
    append_field(out, "Date", http_date(context.now));
    append_field(out, "X-Request-Id", context.request_id);
    append_field(out, "X-Content-Type-Options", "nosniff");
    bool cached = false;
    for (const auto& [name, value] : reply.headers) {
        if (is_own(name) || !is_token(name) || !is_value(value)) {
            continue;
        }
        cached = cached || same_ignoring_case(name, "cache-control");
        append_field(out, name, value);
    }
    if (!cached) {
        append_field(out, "Cache-Control", "no-store");
    }
    if (context.secure) {
        append_field(out, "Strict-Transport-Security", "max-age=31536000");
    }
    append_framing(out, reply, context);
    out += "\r\n";
    return out;
}

std::string chunk(std::string_view data) {
    std::array<char, 24> size{};
    const int length = std::snprintf(size.data(), size.size(), "%zx\r\n", data.size());
    std::string out(size.data(), static_cast<std::size_t>(length));
    out += data;
    out += "\r\n";
    return out;
}

}  // namespace sync_engine

#pragma once

// What a request whose head is well formed must keep to, so that its end and its addressee are beyond doubt
// (RFC 9112).

#include <cstdint>
#include <optional>
#include <string_view>

#include "gateway/problem.hpp"

namespace sync_engine {

// A method or a field's name: one or more of RFC 9110's tchar.
bool is_token(std::string_view text);

// "HTTP/1.1" and "HTTP/1.0" have none.
std::optional<Problem> version_problem(std::string_view version);

Problem body_too_large(std::size_t max_body_bytes);

// How the connection goes on and where the body ends.
struct Framing {
    bool is_http_1_0 = false;
    bool keep_alive = true;
    bool chunked = false;
    std::uint64_t length = 0;  // of a body that is not chunked
    bool expects_continue = false;

    bool has_body() const noexcept { return chunked || length > 0; }
};

// Fills in path and query by the target, and the framing by the header; or says why the request is refused.
std::optional<Problem> apply_request_rules(HttpRequest& request, std::size_t max_body_bytes,
                                           Framing& framing);

}  // namespace sync_engine

#include "gateway/request_rules.hpp"

#include <algorithm>
#include <charconv>
#include <string>
#include <vector>

#include "connectors/ascii.hpp"
#include "gateway/head_scanner.hpp"

namespace sync_engine {

namespace {

using Refusal = std::optional<Problem>;

Problem problem_of(unsigned status, std::string code, std::string detail) {
    Problem problem;
    problem.status = status;
    problem.code = std::move(code);
    problem.detail = std::move(detail);
    return problem;
}

bool is_hex(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

std::vector<std::string_view> values_of(const HttpRequest& request, std::string_view name) {
    std::vector<std::string_view> values;
    for (const auto& [header, value] : request.headers) {
        if (header == name) {
            values.emplace_back(value);
        }
    }
    return values;
}

// The members of a comma separated list, without the blanks around them.
std::vector<std::string_view> list_of(std::string_view text) {
    std::vector<std::string_view> items;
    while (true) {
        const std::size_t comma = text.find(',');
        items.push_back(trimmed(text.substr(0, comma)));
        if (comma == std::string_view::npos) {
            return items;
        }
        text.remove_prefix(comma + 1);
    }
}

// Characters of a target that every reader of it takes the same way; escapes that are two hex digits.
bool is_plain_target(std::string_view target) {
    for (std::size_t i = 0; i < target.size(); ++i) {
        const auto byte = static_cast<unsigned char>(target[i]);
        if (byte <= 0x20 || byte >= 0x7f || target[i] == '#' || target[i] == '\\') {
            return false;
        }
        if (target[i] == '%' &&
            (i + 2 >= target.size() || !is_hex(target[i + 1]) || !is_hex(target[i + 2]))) {
            return false;
        }
    }
    return true;
}

bool is_host(std::string_view text) {
    const auto allowed = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               std::string_view("-._~%!$&'()*+;=:[]").find(c) != std::string_view::npos;
    };
    return !text.empty() && text.size() <= 300 && std::all_of(text.begin(), text.end(), allowed);
}

Refusal host_problem(const HttpRequest& request, const Framing& framing) {
    const auto hosts = values_of(request, "host");
    if (hosts.size() > 1 || (hosts.empty() && !framing.is_http_1_0)) {
        return malformed("there must be one Host header");
    }
    return hosts.empty() || is_host(hosts.front()) ? Refusal()
                                                   : malformed("the Host header is not host or host:port");
}

// From the absolute form, which proxies use, the origin form is made; its host must be the Host header's.
Refusal split_target(HttpRequest& request) {
    std::string_view rest = request.target;
    if (!is_plain_target(rest)) {
        return malformed("the target has characters that must be percent-encoded");
    }
    if (!rest.starts_with('/') && !(rest == "*" && request.method == "OPTIONS")) {
        const std::size_t scheme = rest.find("://");
        const std::string_view name = rest.substr(0, scheme == std::string_view::npos ? 0 : scheme);
        if (!same_ignoring_case(name, "http") && !same_ignoring_case(name, "https")) {
            return malformed("the target must begin with a slash");
        }
        rest.remove_prefix(scheme + 3);
        const std::size_t end = std::min(rest.find_first_of("/?"), rest.size());
        const std::string* host = request.header("host");
        if (host != nullptr && !same_ignoring_case(rest.substr(0, end), *host)) {
            return malformed("target and Host header name different hosts");
        }
        rest.remove_prefix(end);
    }
    const std::size_t question = std::min(rest.find('?'), rest.size());
    request.path = question == 0 ? "/" : std::string(rest.substr(0, question));
    request.query = rest.substr(std::min(question + 1, rest.size()));
    return {};
}

Refusal transfer_coding_problem(const std::vector<std::string_view>& codings, const Framing& framing) {
    if (framing.is_http_1_0) {
        return malformed("HTTP/1.0 knows no Transfer-Encoding");
    }
    if (codings.size() == 1 && same_ignoring_case(codings.front(), "chunked")) {
        return {};
    }
    for (const std::string_view value : codings) {
        for (const std::string_view coding : list_of(value)) {
            if (is_token(coding) && !same_ignoring_case(coding, "chunked")) {
                return problem_of(501, "unknown_transfer_coding", "the only transfer coding is chunked");
            }
        }
    }
    return malformed("Transfer-Encoding must be chunked, once");
}

Refusal length_problem(const HttpRequest& request, std::size_t max_body_bytes, Framing& framing) {
    const auto codings = values_of(request, "transfer-encoding");
    const auto lengths = values_of(request, "content-length");
    if (!codings.empty() && !lengths.empty()) {
        return malformed("there must not be both Content-Length and Transfer-Encoding");
    }
    if (!codings.empty()) {
        framing.chunked = true;
        return transfer_coding_problem(codings, framing);
    }
    if (lengths.empty()) {
        return {};
    }
    const std::string_view text = lengths.front();
    const bool digits = !text.empty() && text.size() <= 19 &&
                        std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (lengths.size() > 1 || !digits) {
        return malformed("there must be one Content-Length, a whole number");
    }
    std::from_chars(text.data(), text.data() + text.size(), framing.length);
    return framing.length <= max_body_bytes ? Refusal() : body_too_large(max_body_bytes);
}

Refusal expectation_problem(const HttpRequest& request, Framing& framing) {
    for (const std::string_view value : values_of(request, "expect")) {
        if (framing.is_http_1_0) {
            continue;  // RFC 9110, 10.1.1: such a client does not mean it
        }
        if (!same_ignoring_case(value, "100-continue")) {
            return problem_of(417, "unknown_expectation", "the only expectation is 100-continue");
        }
        framing.expects_continue = true;
    }
    return {};
}

void apply_connection(const HttpRequest& request, Framing& framing) {
    bool close = false;
    bool keep = false;
    for (const std::string_view value : values_of(request, "connection")) {
        for (const std::string_view option : list_of(value)) {
            close = close || same_ignoring_case(option, "close");
            keep = keep || same_ignoring_case(option, "keep-alive");
        }
    }
    framing.keep_alive = !close && (keep || !framing.is_http_1_0);
}

}  // namespace

bool is_token(std::string_view text) {
    return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
    });
}

Problem body_too_large(std::size_t max_body_bytes) {
    return problem_of(413, "body_too_large", "a body may have " + std::to_string(max_body_bytes) + " bytes");
}

std::optional<Problem> version_problem(std::string_view version) {
    if (version == "HTTP/1.1" || version == "HTTP/1.0") {
        return {};
    }
    const auto digit = [](char c) { return c >= '0' && c <= '9'; };
    const bool well_formed = version.size() == 8 && version.starts_with("HTTP/") && digit(version[5]) &&
                             version[6] == '.' && digit(version[7]);
    return well_formed ? problem_of(505, "unknown_http_version", "this server speaks HTTP/1.1 and HTTP/1.0")
                       : malformed("the request line is not METHOD target HTTP/version");
}

std::optional<Problem> apply_request_rules(HttpRequest& request, std::size_t max_body_bytes,
                                           Framing& framing) {
    apply_connection(request, framing);
    if (Refusal refusal = host_problem(request, framing)) {
        return refusal;
    }
    if (Refusal refusal = length_problem(request, max_body_bytes, framing)) {
        return refusal;
    }
    if (request.method == "CONNECT" || request.method == "TRACE") {
        return problem_of(501, "unknown_method", "this server does not know " + request.method);
    }
    if (Refusal refusal = split_target(request)) {
        return refusal;
    }
    return expectation_problem(request, framing);
}

}  // namespace sync_engine

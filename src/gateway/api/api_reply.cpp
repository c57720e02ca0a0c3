#include "gateway/api/api_reply.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include "gateway/api/request_hash.hpp"
#include "process/json_string.hpp"

namespace sync_engine {

namespace {

constexpr std::string_view kJson = "application/json; charset=utf-8";
constexpr std::size_t kDigestSize = 16;  // of an answer, in its entity tag

std::optional<std::string> column(const PGresult* result, const char* name) {
    const int number = PQfnumber(result, name);
    if (number < 0 || PQgetisnull(result, 0, number) == 1) {
        return std::nullopt;
    }
    return Row(result, 0).text(number);
}

// Whether a list of entity tags, as in If-None-Match, names this one.
bool names_tag(const std::string& header, const std::string& tag) {
    return header == "*" || header.find(tag) != std::string::npos;
}

}  // namespace

HttpReply list_reply(const PGresult* result, const OperationRequest& request) {
    const int rows = PQntuples(result);
    const int shown = std::min(rows, static_cast<int>(request.limit));
    HttpReply reply;
    reply.headers.emplace_back("Content-Type", kJson);
    reply.body = R"({"items":[)";
    for (int i = 0; i < shown; ++i) {
        reply.body += i > 0 ? "," : "";
        reply.body += Row(result, i).text(1);
    }
    reply.body += R"(],"next":)";
    if (rows > shown && shown > 0) {
        reply.body +=
            '"' + make_page_cursor(*request.order, request.filters, Row(result, shown - 1).text(0)) + '"';
    } else {
        reply.body += "null";
    }
    reply.body += "}";
    return reply;
}

HttpReply object_reply(const PGresult* result, unsigned status, const HttpRequest& request) {
    HttpReply reply;
    reply.status = status;
    if (const auto told = column(result, "status")) {
        reply.status = static_cast<unsigned>(std::stoul(*told));
    }
    if (const auto location = column(result, "location")) {
        reply.headers.emplace_back("Location", *location);
    }
    std::string body = column(result, "body").value_or("null");
    if (const auto version = column(result, "version")) {
        // If-Match looks at what is configured, the part before the dot; If-None-Match at the whole answer.
        const std::string tag = '"' + *version + '.' + sha256_hex(body).substr(0, kDigestSize) + '"';
        reply.headers.emplace_back("ETag", tag);
        const std::string* known = request.header("if-none-match");
        if (known != nullptr && (request.method == "GET" || request.method == "HEAD") &&
            names_tag(*known, tag)) {
            reply.status = 304;
            return reply;
        }
    }
    if (reply.status != 204) {
        reply.headers.emplace_back("Content-Type", kJson);
        reply.body = std::move(body);
    }
    return reply;
}

HttpReply replayed_reply(const Row& kept, std::string body) {
    HttpReply reply;
    reply.status = static_cast<unsigned>(kept.integer(1));
    if (reply.status != 204) {
        reply.headers.emplace_back("Content-Type", kJson);
    }
    reply.headers.emplace_back("Idempotency-Replayed", "true");
    if (!kept.is_null(2)) {
        reply.headers.emplace_back("Location", kept.text(2));
    }
    if (!kept.is_null(3)) {
        reply.headers.emplace_back("ETag", kept.text(3));
    }
    reply.body = std::move(body);
    return reply;
}

std::string kept_headers(const HttpReply& reply) {
    std::string out = "{";
    for (const auto& [name, value] : reply.headers) {
        if (name == "Location" || name == "ETag") {
            out += out.size() > 1 ? "," : "";
            append_json_string(out, name);
            out += ":";
            append_json_string(out, value);
        }
    }
    return out + "}";
}

}  // namespace sync_engine

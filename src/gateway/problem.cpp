#include "gateway/problem.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "process/json_string.hpp"

namespace sync_engine {

namespace {

struct Phrase {
    unsigned status;
    std::string_view text;
};

constexpr std::array kPhrases{
    Phrase{100, "Continue"},
    Phrase{200, "OK"},
    Phrase{201, "Created"},
    Phrase{202, "Accepted"},
    Phrase{204, "No Content"},
    Phrase{301, "Moved Permanently"},
    Phrase{302, "Found"},
    Phrase{303, "See Other"},
    Phrase{304, "Not Modified"},
    Phrase{307, "Temporary Redirect"},
    Phrase{308, "Permanent Redirect"},
    Phrase{400, "Bad Request"},
    Phrase{401, "Unauthorized"},
    Phrase{403, "Forbidden"},
    Phrase{404, "Not Found"},
    Phrase{405, "Method Not Allowed"},
    Phrase{406, "Not Acceptable"},
    Phrase{408, "Request Timeout"},
    Phrase{409, "Conflict"},
    Phrase{410, "Gone"},
    Phrase{411, "Length Required"},
    Phrase{412, "Precondition Failed"},
    Phrase{413, "Content Too Large"},
    Phrase{414, "URI Too Long"},
    Phrase{415, "Unsupported Media Type"},
    Phrase{417, "Expectation Failed"},
    Phrase{422, "Unprocessable Content"},
    Phrase{428, "Precondition Required"},
    Phrase{429, "Too Many Requests"},
    Phrase{431, "Request Header Fields Too Large"},
    Phrase{500, "Internal Server Error"},
    Phrase{501, "Not Implemented"},
    Phrase{502, "Bad Gateway"},
    Phrase{503, "Service Unavailable"},
    Phrase{504, "Gateway Timeout"},
    Phrase{505, "HTTP Version Not Supported"},
};

void append_member(std::string& out, std::string_view name, std::string_view value) {
    if (value.empty()) {
        return;
    }
    out += ',';
    append_json_string(out, name);
    out += ':';
    append_json_string(out, value);
}

}  // namespace

std::string_view status_phrase(unsigned status) {
    const auto found = std::find_if(kPhrases.begin(), kPhrases.end(),
                                    [status](const Phrase& phrase) { return phrase.status == status; });
    return found == kPhrases.end() ? std::string_view() : found->text;
}

HttpReply problem_reply(const Problem& problem, std::string_view request_id) {
    // No page describes the codes one by one: the type says no more than the status does, and code tells them
    // apart.
    std::string body = R"({"type":"about:blank","title":)";
    append_json_string(
        body, problem.title.empty() ? status_phrase(problem.status) : std::string_view(problem.title));
    body += R"(,"status":)" + std::to_string(problem.status);
    append_member(body, "detail", problem.detail);
    append_member(body, "code", problem.code);
    if (!problem.pointer.empty()) {
        body += R"(,"errors":[{"pointer":)";
        append_json_string(body, problem.pointer);
        append_member(body, "detail", problem.detail);
        body += "}]";
    }
    append_member(body, "hint", problem.hint);
    append_member(body, "request_id", request_id);
    body += "}\n";
    HttpReply reply;
    reply.status = problem.status;
    reply.headers.emplace_back("Content-Type", "application/problem+json");
    reply.body = std::move(body);
    return reply;
}

}  // namespace sync_engine

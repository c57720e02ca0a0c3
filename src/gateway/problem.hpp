#pragma once

#include <string>
#include <string_view>

#include "gateway/http_message.hpp"

namespace sync_engine {

// Why a request is not done, as RFC 9457 puts it. All but status may be empty; what is empty is left out.
struct Problem {
    unsigned status = 500;
    std::string code;     // a word that programs go by: "not_found"
    std::string title;    // the same for every problem of this code; empty: the status's own phrase
    std::string detail;   // about this very request
    std::string pointer;  // JSON pointer into the body, or the name of a parameter, that is at fault
    std::string hint;     // what to do about it
};

// application/problem+json {type, title, status, detail, code, errors: [{pointer, detail}], hint, request_id}
HttpReply problem_reply(const Problem& problem, std::string_view request_id);

// "Not Found" for 404; empty where the status has no phrase here.
std::string_view status_phrase(unsigned status);

}  // namespace sync_engine

#include "gateway/head_scanner.hpp"

#include <algorithm>

#include "gateway/request_rules.hpp"

namespace sync_engine {

namespace {

constexpr std::size_t kMostFields = 100;

// A tab may stand in a value; request_line and field_line see to the rest.
bool is_control(char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte < 0x20 && c != '\t') || byte == 0x7f;
}

}  // namespace

Problem malformed(std::string_view detail) {
    Problem problem;
    problem.status = 400;
    problem.code = "malformed_request";
    problem.detail = detail;
    return problem;
}

std::optional<std::size_t> HeadScanner::scan(std::string_view buffer) {
    while (at_ < buffer.size() && !problem_ && !ended_) {
        if (at_ >= limit_) {
            too_long();
            break;
        }
        const char c = buffer[at_];
        const bool after_cr = at_ > line_begin_ && buffer[at_ - 1] == '\r';
        ++at_;
        if (c == '\n' && after_cr) {
            line(buffer.substr(line_begin_, at_ - 2 - line_begin_));
            line_begin_ = at_;
        } else if (c == '\n' || after_cr) {
            refuse("lines must end with CR LF, and neither may stand alone");
        } else if (c != '\r' && is_control(c)) {
            refuse("there is a control character in the header");
        }
    }
    return ended_ && !problem_ ? std::optional(at_) : std::nullopt;
}

void HeadScanner::too_long() {
    Problem problem;
    problem.status = lines_ == 0 ? 414 : 431;
    problem.code = lines_ == 0 ? "target_too_long" : "header_too_large";
    problem.detail = "request line and header may have " + std::to_string(limit_) + " bytes";
    problem_ = problem;
}

void HeadScanner::line(std::string_view text) {
    constexpr std::size_t kEmptyLines = 2;
    if (lines_ == 0 && text.empty() && at_ <= kEmptyLines * 2) {
        begin_ = at_;
        return;
    }
    if (lines_ == 0) {
        request_line(text);
    } else if (text.empty()) {
        ended_ = true;
    } else {
        field_line(text);
    }
    ++lines_;
}

void HeadScanner::request_line(std::string_view text) {
    const std::size_t first = text.find(' ');
    const std::size_t last = text.rfind(' ');
    if (first == std::string_view::npos || first == last) {
        refuse("the request line is not METHOD target HTTP/version");
        return;
    }
    const std::string_view target = text.substr(first + 1, last - first - 1);
    const std::string_view version = text.substr(last + 1);
    if (!is_token(text.substr(0, first)) || target.empty() ||
        target.find_first_of(" \t") != std::string_view::npos) {
        refuse("the request line is not METHOD target HTTP/version");
        return;
    }
    problem_ = version_problem(version);
}

void HeadScanner::field_line(std::string_view text) {
    if (lines_ > kMostFields) {
        Problem problem;
        problem.status = 431;
        problem.code = "header_too_large";
        problem.detail = "a request may have " + std::to_string(kMostFields) + " header fields";
        problem_ = problem;
        return;
    }
    if (text.front() == ' ' || text.front() == '\t') {
        refuse("folded header lines are not accepted");
        return;
    }
    const std::size_t colon = text.find(':');
    if (colon == std::string_view::npos || !is_token(text.substr(0, colon))) {
        refuse("a header line is not name: value");
    }
}

}  // namespace sync_engine

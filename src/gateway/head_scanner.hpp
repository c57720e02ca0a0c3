#pragma once

// Looks at a request's head as it arrives, before it is parsed. Beast forgives some of what makes two servers
// read one text as different requests: folded lines above all. Whatever is not plainly a head is refused
// here.

#include <cstddef>
#include <optional>
#include <string_view>

#include "gateway/problem.hpp"

namespace sync_engine {

Problem malformed(std::string_view detail);

class HeadScanner {
  public:
    // `limit`: most bytes of request line and header fields, with their line ends.
    explicit HeadScanner(std::size_t limit) : limit_(limit) {}

    // `buffer` holds what has come, each time from the same beginning: bytes that were looked at before are
    // not looked at again. The number of bytes of the head once it is complete, its empty last line included.
    std::optional<std::size_t> scan(std::string_view buffer);

    // Where the request line begins: behind the empty lines that some clients send after a body.
    std::size_t begin() const noexcept { return begin_; }

    // Why the head is refused; the rest is then of no interest.
    const std::optional<Problem>& problem() const noexcept { return problem_; }

  private:
    void line(std::string_view text);
    void request_line(std::string_view text);
    void field_line(std::string_view text);
    void too_long();
    void refuse(std::string_view detail) { problem_ = malformed(detail); }

    std::size_t limit_;
    std::size_t at_ = 0;          // bytes looked at
    std::size_t line_begin_ = 0;  // of the line that is arriving
    std::size_t begin_ = 0;
    std::size_t lines_ = 0;  // the request line and fields
    bool ended_ = false;
    std::optional<Problem> problem_;
};

}  // namespace sync_engine

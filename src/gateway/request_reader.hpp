#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include "gateway/head_scanner.hpp"
#include "gateway/http_message.hpp"
#include "gateway/problem.hpp"
#include "gateway/request_rules.hpp"

namespace sync_engine {

struct RequestLimits {
    std::size_t header_bytes = 0;
    std::size_t body_bytes = 0;
};

// Reads one request from bytes as they come. Knows nothing of sockets.
class RequestReader {
  public:
    enum class State {
        head,    // more of the head is wanted
        body,    // the head is there, and more of the body is wanted
        done,    // request() is complete
        refused  // problem() says why; where the next request would begin is unknown
    };

    explicit RequestReader(RequestLimits limits);
    RequestReader(const RequestReader&) = delete;
    RequestReader& operator=(const RequestReader&) = delete;
    ~RequestReader();

    // Takes what it can from the front of `buffer`; not to be called any more once done or refused. Returns
    // early, at the state body, when the head has become complete.
    State read(std::string& buffer);

    HttpRequest& request() noexcept { return request_; }
    const Framing& framing() const noexcept { return framing_; }
    const Problem& problem() const noexcept { return problem_; }

  private:
    class Parser;

    State read_head(std::string& buffer);
    State read_body(std::string& buffer);
    State refuse(Problem problem);

    RequestLimits limits_;
    State state_ = State::head;
    HeadScanner scanner_;
    std::unique_ptr<Parser> parser_;
    HttpRequest request_;
    Framing framing_;
    Problem problem_;
};

}  // namespace sync_engine

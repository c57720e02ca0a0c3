#include "gateway/gateway_handler.hpp"

#include <string>
#include <utility>

#include "gateway/problem.hpp"
#include "gateway/url_decode.hpp"

namespace sync_engine {

namespace asio = boost::asio;

namespace {

// As the API's description reads paths: each segment decoded by itself.
bool is_events(std::string_view path) {
    constexpr std::string_view base = "/api/v2/";
    if (!path.starts_with(base)) {
        return false;
    }
    path.remove_prefix(base.size());
    return path.find('/') == std::string_view::npos && url_decode(path, false) == "events";
}

}  // namespace

Handler* GatewayHandler::handler_of(const std::string& path) const {
    if (is_events(path)) {
        return &events_;
    }
    if (path.starts_with("/api/")) {
        return &api_;
    }
    if (path.starts_with("/hooks/")) {
        return &hooks_;
    }
    const bool is_operation =
        path == "/healthz" || path == "/readyz" || path == "/health" || path == "/metrics";
    return is_operation ? &operations_ : nullptr;
}

asio::awaitable<HttpReply> GatewayHandler::handle(HttpRequest request) {
    if (Handler* handler = handler_of(request.path)) {
        co_return co_await handler->handle(std::move(request));
    }
    Problem problem;
    problem.status = 404;
    problem.code = "not_found";
    problem.detail = "there is nothing at this path";
    co_return problem_reply(problem, request.request_id);
}

}  // namespace sync_engine

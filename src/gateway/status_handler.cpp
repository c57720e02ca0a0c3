#include "gateway/status_handler.hpp"

#include "gateway/problem.hpp"

namespace sync_engine {

boost::asio::awaitable<HttpReply> StatusHandler::handle(HttpRequest request) {
    Problem problem;
    problem.status = 404;
    problem.code = "not_found";
    HttpReply reply;
    const bool known = request.path == "/healthz" || request.path == "/metrics";
    if (!known) {
        co_return problem_reply(problem, request.request_id);
    }
    if (request.method != "GET" && request.method != "HEAD") {
        problem.status = 405;
        problem.code = "method_not_allowed";
        reply = problem_reply(problem, request.request_id);
        reply.headers.emplace_back("Allow", "GET, HEAD");
        co_return reply;
    }
    const bool metrics = request.path == "/metrics";
    reply.headers.emplace_back("Content-Type", metrics ? "text/plain; version=0.0.4" : "application/json");
    reply.body = metrics ? metrics_.text() : "{\"status\":\"ok\"}\n";
    co_return reply;
}

}  // namespace sync_engine

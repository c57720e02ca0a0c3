#include "gateway/hook_endpoint.hpp"

#include <algorithm>
#include <ctime>
#include <utility>

#include "gateway/database_problem.hpp"
#include "gateway/problem.hpp"
#include "gateway/url_decode.hpp"
#include "process/json_string.hpp"
#include "process/pg_values.hpp"

namespace sync_engine {

namespace asio = boost::asio;

namespace {

constexpr std::string_view kPrefix = "/hooks/";
constexpr int kRepetitions = 3;

struct Address {
    std::string provider;
    std::string token;
};

// As sync.create_hook makes them. The database is not asked about anything else.
bool is_token(std::string_view token) {
    constexpr std::string_view prefix = "whk_";
    return token.size() == prefix.size() + 64 && token.starts_with(prefix) &&
           token.find_first_not_of("0123456789abcdef", prefix.size()) == std::string_view::npos;
}

std::optional<Address> address_of(std::string_view path) {
    path.remove_prefix(std::min(kPrefix.size(), path.size()));
    const std::size_t slash = path.find('/');
    if (slash == std::string_view::npos) {
        return std::nullopt;
    }
    std::optional<std::string> provider = url_decode(path.substr(0, slash), false);
    const std::string_view token = path.substr(slash + 1);
    if (!provider || provider->empty() || !is_token(token)) {
        return std::nullopt;
    }
    return Address{std::move(*provider), std::string(token)};
}

HttpReply json_reply(unsigned status, std::string body) {
    HttpReply reply;
    reply.status = status;
    reply.headers.emplace_back("Content-Type", "application/json");
    reply.body = std::move(body);
    return reply;
}

HttpReply outcome_reply(std::string_view outcome, std::string_view job_id, std::string_view reason) {
    std::string body = "{\"outcome\":";
    append_json_string(body, outcome);
    if (!job_id.empty()) {
        body.append(",\"job_id\":").append(job_id);
    }
    if (!reason.empty()) {
        body += ",\"reason\":";
        append_json_string(body, reason);
    }
    // The sender has said it before, and is to hear that all is well.
    return json_reply(outcome == "duplicate" ? 200 : 202, body + "}\n");
}

HttpReply challenge_reply(const std::string& challenge) {
    std::string body = "{\"challenge\":";
    append_json_string(body, challenge);
    return json_reply(200, body + "}\n");
}

HttpReply wrong_method(const HttpRequest& request) {
    Problem problem;
    problem.status = 405;
    problem.code = "method_not_allowed";
    problem.detail = "messages to hooks are sent by POST";
    HttpReply reply = problem_reply(problem, request.request_id);
    reply.headers.emplace_back("Allow", "POST");
    return reply;
}

std::vector<PgStatement> open_statement(const HttpRequest& request, const Address& address) {
    std::vector<PgStatement> pipeline;
    pipeline.push_back(
        {"SELECT h.hook_id, h.scheme, s.secret FROM sync.open_hook($1, $2, $3) h "
         "LEFT JOIN LATERAL unnest(h.secrets) s (secret) ON true",
         {address.provider, address.token, request.request_id}});
    return pipeline;
}

struct Hook {
    std::string id;
    std::string scheme;
    std::vector<std::string> secrets;
};

Hook hook_of(const PGresult* result) {
    Hook hook{Row(result, 0).text(0), Row(result, 0).text(1), {}};
    for (int i = 0; i < PQntuples(result); ++i) {
        if (!Row(result, i).is_null(2)) {
            hook.secrets.push_back(Row(result, i).text(2));
        }
    }
    return hook;
}

}  // namespace

HttpReply HookEndpoint::unknown(const HttpRequest& request) {
    metrics_.hook("unknown");
    Problem problem;
    problem.status = 404;
    problem.code = "not_found";
    problem.detail = "there is no such hook";
    return problem_reply(problem, request.request_id);
}

HttpReply HookEndpoint::refuse(const HttpRequest& request, HookVerdict verdict, std::string_view hook_id) {
    metrics_.hook("refused");
    log_.info("a message to a hook was refused", {{"hook_id", hook_id},
                                                  {"reason", verdict_text(verdict)},
                                                  {"client", request.client},
                                                  {"request_id", request.request_id}});
    Problem problem;
    problem.status = 401;
    problem.code = "bad_signature";
    problem.detail = verdict_text(verdict);
    return problem_reply(problem, request.request_id);
}

HttpReply HookEndpoint::failure(const HttpRequest& request, const PgOutcome& outcome) {
    HttpReply reply = database_problem_reply(outcome, request.request_id, log_);
    metrics_.hook(reply.status == 404 ? "unknown" : reply.status == 422 ? "malformed" : "unavailable");
    return reply;
}

asio::awaitable<HttpReply> HookEndpoint::handle(HttpRequest request) {
    const std::optional<Address> address = address_of(request.path);
    if (!address) {
        co_return unknown(request);
    }
    if (request.method != "POST") {
        co_return wrong_method(request);
    }
    const PgOutcome opened = co_await pool_.run(open_statement(request, *address), address->token);
    if (!opened.done()) {
        co_return failure(request, opened);
    }
    if (PQntuples(opened.result()) == 0) {
        co_return unknown(request);
    }
    const Hook hook = hook_of(opened.result());
    const HookVerdict verdict =
        verify_hook(hook.scheme, hook.secrets, request.headers, request.body, std::time(nullptr));
    if (verdict != HookVerdict::genuine) {
        co_return refuse(request, verdict, hook.id);
    }
    HookMessage message = read_hook_message(hook.scheme, request.headers, request.body);
    co_return co_await receive(request, address->provider, address->token, std::move(message));
}

asio::awaitable<HttpReply> HookEndpoint::receive(const HttpRequest& request, std::string provider,
                                                 std::string token, HookMessage message) {
    if (!message.fault.empty()) {
        metrics_.hook("malformed");
        Problem problem;
        problem.status = 400;
        problem.code = "malformed";
        problem.detail = message.fault;
        co_return problem_reply(problem, request.request_id);
    }
    if (!message.challenge.empty()) {
        metrics_.hook("challenge");
        co_return challenge_reply(message.challenge);
    }
    if (!message.ignored.empty()) {
        metrics_.hook("ignored");
        co_return outcome_reply("ignored", "", message.ignored);
    }
    const std::string key = token;
    std::vector<PgStatement> pipeline;
    pipeline.push_back(
        {"SELECT r.outcome, r.job_id, r.reason FROM sync.receive_hook($1, $2, $3, $4::jsonb, "
         "$5::jsonb, $6) r",
         {std::move(provider), std::move(token), std::move(message.delivery_id), std::move(message.headers),
          std::move(message.payload), request.request_id}});
    PgOutcome received = co_await pool_.run(pipeline, key);
    for (int i = 0; i < kRepetitions && is_conflict_of_transactions(received); ++i) {
        received = co_await pool_.run(pipeline, key);
    }
    if (!received.done()) {
        co_return failure(request, received);
    }
    // Between the two round trips it may have been removed.
    if (PQntuples(received.result()) == 0 || Row(received.result(), 0).is_null(0)) {
        co_return unknown(request);
    }
    const Row row = only_row(received.result(), 3);
    metrics_.hook(row.text(0));
    co_return outcome_reply(row.text(0), row.text(1), row.text(2));
}

}  // namespace sync_engine

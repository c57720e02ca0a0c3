#include "gateway/api/api_endpoint.hpp"

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <utility>

#include "gateway/api/api_reply.hpp"
#include "gateway/api/kept_body.hpp"
#include "gateway/api/request_hash.hpp"
#include "gateway/bearer_token.hpp"
#include "gateway/database_problem.hpp"

namespace sync_engine {

namespace {

namespace asio = boost::asio;

// Made by a deadlock or by a serialization failure: nothing has happened, and the next try goes through as a
// rule.
constexpr int kMaxTries = 3;
constexpr std::size_t kMaxToken = 200;
constexpr std::string_view kOpenApi = "getOpenApi";

std::int64_t unix_now() {
    return std::chrono::duration_cast<std::chrono::seconds>(
               std::chrono::system_clock::now().time_since_epoch())
        .count();
}

std::optional<std::string> optional_header(const HttpRequest& request, std::string_view name) {
    const std::string* value = request.header(name);
    return value == nullptr ? std::nullopt : std::optional(*value);
}

PgStatement begin_request(const ApiOperation& operation, const HttpRequest& request, const std::string& token,
                          std::int64_t take, const std::string& public_url) {
    std::optional<std::string> scope;
    if (operation.scope && !operation.scope->empty()) {
        scope = *operation.scope;
    }
    return {
        "SELECT requests_per_minute, granted, remaining, ceil(extract(epoch FROM resets_at))::bigint "
        "FROM sync.begin_request($1, $2, $3, $4, $5::int), set_config('sync_gateway.public_url', $6, true)",
        {token, scope, optional_header(request, "x-actor"), request.request_id, std::to_string(take),
         public_url}};
}

BudgetGrant grant_of(const PGresult* result) {
    const Row row = only_row(result, 4);
    BudgetGrant grant;
    if (!row.is_null(0)) {
        grant.limit = row.integer(0);
    }
    grant.granted = row.is_null(1) ? 0 : row.integer(1);
    grant.remaining = row.is_null(2) ? 0 : row.integer(2);
    grant.resets_at = row.is_null(3) ? unix_now() + 60 : row.integer(3);
    return grant;
}

// Empty: there is none that could be one.
std::string token_of(const HttpRequest& request) {
    const std::string* header = request.header("authorization");
    return header == nullptr || header->size() > kMaxToken ? "" : std::string(bearer_token(*header));
}

void add_budget(HttpReply& reply, const BudgetState& state) {
    if (state.limit) {
        reply.headers.emplace_back("RateLimit-Limit", std::to_string(*state.limit));
        reply.headers.emplace_back("RateLimit-Remaining", std::to_string(state.remaining));
        reply.headers.emplace_back("RateLimit-Reset", std::to_string(state.reset_seconds));
        reply.headers.emplace_back("RateLimit-Policy", std::to_string(*state.limit) + ";w=60");
    }
}

// Whether a statement looked for what the request is about, and found nothing.
bool nothing_found(const PgOutcome& outcome) {
    return std::any_of(outcome.results.begin(), outcome.results.end(), [](const PgResult& result) {
        return PQfnumber(result.get(), "found") == 0 && PQntuples(result.get()) == 0;
    });
}

NamedIn names_in(const ApiOperation& operation) {
    const bool by_path = std::ranges::any_of(
        operation.path, [](const std::string& segment) { return segment.starts_with('{'); });
    return operation.body && !by_path ? NamedIn::body : NamedIn::path;
}

}  // namespace

ApiEndpoint::ApiEndpoint(PgPool& pool, Logger& log, std::string public_url)
    : pool_(pool),
      log_(log),
      public_url_(std::move(public_url)),
      document_(openapi_texts()),
      statements_(read_operation_sql(operation_texts())) {
    std::size_t used = 0;
    for (const ApiOperation& operation : document_.operations()) {
        const bool known = statements_.contains(operation.id);
        used += known ? 1 : 0;
        if (!known && operation.id != kOpenApi && operation.id != "streamEvents") {
            throw std::runtime_error("operation " + operation.id +
                                     " of the API's description has no statements");
        }
    }
    if (used != statements_.size()) {
        throw std::runtime_error(
            "there are statements of operations that the API's description does not have");
    }
}

HttpReply ApiEndpoint::refuse(const Problem& problem, const HttpRequest& request) const {
    return problem_reply(problem, request.request_id);
}

HttpReply ApiEndpoint::refuse(const PgOutcome& outcome, const ApiOperation& operation,
                              const HttpRequest& request) const {
    return database_problem_reply(outcome, request.request_id, log_, names_in(operation));
}

asio::awaitable<HttpReply> ApiEndpoint::handle(HttpRequest request) {
    const ApiRoute route = document_.find(request.method, request.path);
    if (route.operation == nullptr) {
        HttpReply reply = refuse(
            route.allow.empty() ? Problem{404, "not_found", "There is no such path", request.path, "", ""}
                                : Problem{405, "method_not_allowed", "The path does not take that method",
                                          "it takes " + route.allow, "", ""},
            request);
        if (!route.allow.empty()) {
            reply.headers.emplace_back("Allow", route.allow);
        }
        co_return reply;
    }
    const ApiOperation& operation = *route.operation;
    if (operation.id == kOpenApi) {
        co_return HttpReply{200,
                            {{"Content-Type", "application/json"}, {"Cache-Control", "max-age=300"}},
                            document_.text(),
                            nullptr};
    }
    const std::string token = token_of(request);
    BudgetState budget;
    HttpReply reply;
    auto refusal = co_await take_budget(operation, request, token, budget);
    if (refusal) {
        reply = std::move(*refusal);
        add_budget(reply, budget);
        co_return reply;
    }
    auto read = read_operation_request(route, request);
    if (const Problem* problem = std::get_if<Problem>(&read)) {
        reply = refuse(*problem, request);
    } else {
        reply = co_await run(operation, request, token, std::get<OperationRequest>(read));
    }
    add_budget(reply, budget);
    co_return reply;
}

asio::awaitable<std::optional<HttpReply>> ApiEndpoint::take_budget(const ApiOperation& operation,
                                                                   const HttpRequest& request,
                                                                   const std::string& token,
                                                                   BudgetState& state) {
    if (token.empty()) {
        HttpReply reply = refuse(Problem{401, "unauthenticated", "A token is needed",
                                         "give one in the header Authorization: Bearer TOKEN", "", ""},
                                 request);
        reply.headers.emplace_back("WWW-Authenticate", "Bearer");
        co_return reply;
    }
    const std::int64_t wanted = budgets_.wanted(token, unix_now());
    if (wanted > 0) {
        // In a transaction of its own: a request that fails counts as well.
        std::vector<PgStatement> statements;
        statements.push_back(begin_request(operation, request, token, wanted, public_url_));
        const PgOutcome outcome = co_await pool_.run(std::move(statements), token);
        if (!outcome.done()) {
            budgets_.forget(token);
            co_return refuse(outcome, operation, request);
        }
        budgets_.granted(token, grant_of(outcome.result()));
    }
    state = budgets_.use(token, unix_now());
    if (!state.allowed) {
        HttpReply reply = refuse(
            Problem{429, "rate_limited", "Too many requests",
                    "this token may make " + std::to_string(*state.limit) + " requests a minute", "", ""},
            request);
        reply.headers.emplace_back("Retry-After",
                                   std::to_string(std::max<std::int64_t>(state.reset_seconds, 1)));
        co_return reply;
    }
    co_return std::nullopt;
}

asio::awaitable<HttpReply> ApiEndpoint::run(const ApiOperation& operation, const HttpRequest& request,
                                            const std::string& token, const OperationRequest& read) {
    const std::string* key = operation.idempotent ? request.header("idempotency-key") : nullptr;
    for (int tries = 1;; ++tries) {
        Tried tried;
        if (key != nullptr) {
            tried = co_await try_once(operation, request, token, read, *key);
        } else {
            tried = co_await try_plain(operation, request, token, read);
        }
        if (HttpReply* reply = std::get_if<HttpReply>(&tried)) {
            co_return std::move(*reply);
        }
        const PgOutcome& failed = std::get<PgOutcome>(tried);
        if (!is_conflict_of_transactions(failed) || tries == kMaxTries) {
            co_return refuse(failed, operation, request);
        }
    }
}

asio::awaitable<ApiEndpoint::Tried> ApiEndpoint::try_plain(const ApiOperation& operation,
                                                           const HttpRequest& request,
                                                           const std::string& token,
                                                           const OperationRequest& read) {
    std::vector<PgStatement> statements = statements_.at(operation.id).bind(read);
    statements.insert(statements.begin(), begin_request(operation, request, token, 0, public_url_));
    PgOutcome outcome = co_await pool_.run(std::move(statements), token);
    if (!outcome.done()) {
        co_return outcome;
    }
    co_return reply_of(operation, request, read, outcome);
}

// What was answered under the key is answered again; else the operation runs, and its answer is kept with it.
asio::awaitable<ApiEndpoint::Tried> ApiEndpoint::try_once(const ApiOperation& operation,
                                                          const HttpRequest& request,
                                                          const std::string& token,
                                                          const OperationRequest& read,
                                                          const std::string& key) {
    auto lease = co_await pool_.begin(token);
    if (!lease) {
        PgOutcome none;
        none.status = pool_.figures().connected > 0 ? PgOutcome::Status::overloaded : PgOutcome::Status::lost;
        co_return none;
    }
    std::vector<PgStatement> statements;
    statements.push_back(begin_request(operation, request, token, 0, public_url_));
    statements.push_back(
        {"SELECT replayed, status, headers ->> 'Location', headers ->> 'ETag', body "
         "FROM sync.begin_idempotent($1, $2, $3)",
         {key, operation.id, request_hash(request)}});
    PgOutcome outcome = co_await lease->run(std::move(statements));
    if (!outcome.done()) {
        co_return outcome;
    }
    const Row kept = only_row(outcome.results.back().get(), 5);
    if (kept.boolean(0)) {
        auto body = unseal_body(token, key, kept.text(4));
        if (!body) {
            co_return refuse(
                Problem{422, "invalid", "The request is not valid",
                        "another token has used this Idempotency-Key: its answer is that token's",
                        "Idempotency-Key", ""},
                request);
        }
        co_return replayed_reply(kept, std::move(*body));
    }
    outcome = co_await lease->run(statements_.at(operation.id).bind(read));
    if (!outcome.done()) {
        co_return outcome;
    }
    HttpReply reply = reply_of(operation, request, read, outcome);
    if (reply.status >= 300) {
        co_return reply;  // nothing happened: the lease is rolled back, and the key is free
    }
    std::vector<PgStatement> last;
    last.push_back(
        {"SELECT sync.end_idempotent($1, $2::int, $3::jsonb, $4)",
         {key, std::to_string(reply.status), kept_headers(reply), seal_body(token, key, reply.body)}});
    outcome = co_await lease->commit(std::move(last));
    if (!outcome.done()) {
        co_return outcome;
    }
    co_return reply;
}

HttpReply ApiEndpoint::reply_of(const ApiOperation& operation, const HttpRequest& request,
                                const OperationRequest& read, const PgOutcome& outcome) const {
    const PGresult* result = outcome.results.back().get();
    const bool found = !nothing_found(outcome);
    if (read.order && found) {
        return list_reply(result, read);
    }
    if (!found || PQntuples(result) != 1) {
        return refuse(Problem{404, "not_found", "There is no such thing", "", "", ""}, request);
    }
    return object_reply(result, operation.status, request);
}

}  // namespace sync_engine

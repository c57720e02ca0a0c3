#pragma once

// /api/v2: each request is one operation of the API's description, which is one transaction of the statements
// that go by its name, under the rights and the tenant of the request's token. Nothing is decided here that
// psql could not do.

#include <map>
#include <optional>
#include <string>
#include <variant>

#include "gateway/api/api_document.hpp"
#include "gateway/api/operation_sql.hpp"
#include "gateway/api/request_budget.hpp"
#include "gateway/handler.hpp"
#include "gateway/pg_pool.hpp"
#include "process/log.hpp"

namespace sync_engine {

class ApiEndpoint : public Handler {
  public:
    // `pool` and `log` are borrowed. Throws std::runtime_error where description and statements do not fit.
    ApiEndpoint(PgPool& pool, Logger& log, std::string public_url);

    boost::asio::awaitable<HttpReply> handle(HttpRequest request) override;

  private:
    // The refusal of a request that has no token, a bad one, or too many requests.
    boost::asio::awaitable<std::optional<HttpReply>> take_budget(const ApiOperation& operation,
                                                                 const HttpRequest& request,
                                                                 const std::string& token,
                                                                 BudgetState& state);
    boost::asio::awaitable<HttpReply> run(const ApiOperation& operation, const HttpRequest& request,
                                          const std::string& token, const OperationRequest& read);
    // The answer, or why the transaction did not commit.
    using Tried = std::variant<HttpReply, PgOutcome>;
    boost::asio::awaitable<Tried> try_plain(const ApiOperation& operation, const HttpRequest& request,
                                            const std::string& token, const OperationRequest& read);
    boost::asio::awaitable<Tried> try_once(const ApiOperation& operation, const HttpRequest& request,
                                           const std::string& token, const OperationRequest& read,
                                           const std::string& key);
    HttpReply reply_of(const ApiOperation& operation, const HttpRequest& request,
                       const OperationRequest& read, const PgOutcome& outcome) const;
    HttpReply refuse(const Problem& problem, const HttpRequest& request) const;
    HttpReply refuse(const PgOutcome& outcome, const ApiOperation& operation,
                     const HttpRequest& request) const;

    PgPool& pool_;
    Logger& log_;
    std::string public_url_;
    ApiDocument document_;
    std::map<std::string, OperationSql> statements_;
    RequestBudgets budgets_;
};

}  // namespace sync_engine

#pragma once

#include <string_view>

#include <boost/asio/awaitable.hpp>

#include "gateway/handler.hpp"
#include "gateway/hook_message.hpp"
#include "gateway/pg_pool.hpp"
#include "gateway/service_metrics.hpp"
#include "process/log.hpp"

namespace sync_engine {

// POST /hooks/{provider}/{token}: what senders of webhooks tell is verified and handed to the database in two
// round trips. What cannot be taken just now is answered with 503, so that the sender tries again; its
// delivery id makes one of both attempts.
class HookEndpoint final : public Handler {
  public:
    // All borrowed.
    HookEndpoint(PgPool& pool, Logger& log, ServiceMetrics& metrics)
        : pool_(pool), log_(log), metrics_(metrics) {}

    boost::asio::awaitable<HttpReply> handle(HttpRequest request) override;

  private:
    boost::asio::awaitable<HttpReply> receive(const HttpRequest& request, std::string provider,
                                              std::string token, HookMessage message);
    HttpReply unknown(const HttpRequest& request);
    HttpReply refuse(const HttpRequest& request, HookVerdict verdict, std::string_view hook_id);
    HttpReply failure(const HttpRequest& request, const PgOutcome& outcome);

    PgPool& pool_;
    Logger& log_;
    ServiceMetrics& metrics_;
};

}  // namespace sync_engine

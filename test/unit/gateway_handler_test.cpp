// Who answers which path.
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "gateway/gateway_handler.hpp"
#include "pg_server_support.hpp"

namespace sync_engine {
namespace {

class NamedHandler final : public Handler {
  public:
    explicit NamedHandler(std::string name) : name_(std::move(name)) {}

    boost::asio::awaitable<HttpReply> handle(HttpRequest /*request*/) override {
        HttpReply reply;
        reply.body = name_;
        co_return reply;
    }

  private:
    std::string name_;
};

std::string who_answers(std::string path) {
    boost::asio::io_context io{1};
    NamedHandler hooks("hooks");
    NamedHandler events("events");
    NamedHandler operations("operations");
    NamedHandler api("api");
    GatewayHandler handler(hooks, events, operations, api);
    HttpRequest request;
    request.path = std::move(path);
    const HttpReply reply = result_of_running(io, handler.handle(std::move(request)));
    return reply.status == 404 ? "nobody" : reply.body;
}

TEST(GatewayHandler, EachPathHasItsHandler) {
    EXPECT_EQ(who_answers("/hooks/github/whk_1"), "hooks");
    EXPECT_EQ(who_answers("/api/v2/events"), "events");
    EXPECT_EQ(who_answers("/api/v2/connections"), "api");
    EXPECT_EQ(who_answers("/api/v2/events/5"), "api");
    EXPECT_EQ(who_answers("/healthz"), "operations");
    EXPECT_EQ(who_answers("/readyz"), "operations");
    EXPECT_EQ(who_answers("/metrics"), "operations");
    EXPECT_EQ(who_answers("/"), "nobody");
}

TEST(GatewayHandler, EventsAreEventsHoweverTheyAreWritten) {
    EXPECT_EQ(who_answers("/api/v2/event%73"), "events");
    EXPECT_EQ(who_answers("/api/v2/%65%76%65%6E%74%73"), "events");
    EXPECT_EQ(who_answers("/api/v2/events%2F"), "api");
    EXPECT_EQ(who_answers("/api/v2/event%7"), "api");
}

}  // namespace
}  // namespace sync_engine

// Requests that a handler is given, and what becomes of those that it does not answer.
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/redirect_error.hpp>

#include "gateway/server.hpp"
#include "pg_server_support.hpp"

namespace sync_engine {
namespace {

namespace asio = boost::asio;

// Tells whether the client is hidden; answers "/never" never.
class TellingHandler final : public Handler {
  public:
    boost::asio::awaitable<HttpReply> handle(HttpRequest request) override {
        if (request.path == "/never") {
            asio::steady_timer timer(co_await asio::this_coro::executor,
                                     asio::steady_timer::time_point::max());
            boost::system::error_code cancelled;
            co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, cancelled));
        }
        HttpReply reply;
        reply.body = request.hides_client ? "hidden" : "seen";
        co_return reply;
    }
};

class GatewayConnectionTest : public ::testing::Test {
  protected:
    GatewayConnectionTest() : options_(options()) { server_.start(); }

    static GatewayOptions options() {
        const std::vector<std::string> arguments{"--listen", "127.0.0.1:0", "--request-timeout", "0.1"};
        const auto nothing = [](const std::string& /*name*/) { return std::optional<std::string>(); };
        return parse_gateway_options(arguments, {nothing, nothing});
    }

    // The answer to a request of a connection of its own.
    std::string answer(std::string path, std::string headers = "") {
        return result_of_running(
            io_, ask(server_.port(),
                     "GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + headers + "\r\n"));
    }

    static asio::awaitable<std::string> ask(std::uint16_t port, std::string request) {
        asio::ip::tcp::socket socket(co_await asio::this_coro::executor);
        const asio::ip::tcp::endpoint endpoint(asio::ip::address_v4::loopback(), port);
        co_await socket.async_connect(endpoint, asio::use_awaitable);
        co_await asio::async_write(socket, asio::buffer(request), asio::use_awaitable);
        std::string text;
        boost::system::error_code ended;
        co_await asio::async_read(socket, asio::dynamic_buffer(text),
                                  asio::redirect_error(asio::use_awaitable, ended));
        co_return text;
    }

    asio::io_context io_{1};
    SilentLog log_;
    GatewayMetrics metrics_;
    TellingHandler handler_;
    GatewayOptions options_;
    Server server_{io_, options_, handler_, *log_, metrics_};
};

TEST_F(GatewayConnectionTest, ARequestThatTakesTooLongMayBeRepeated) {
    const std::string text = answer("/never");
    EXPECT_TRUE(text.starts_with("HTTP/1.1 503 ")) << text;
    EXPECT_NE(text.find("\r\nRetry-After: 1\r\n"), std::string::npos) << text;
}

TEST_F(GatewayConnectionTest, TheHandlerIsToldWhetherAProxyHidesTheClient) {
    EXPECT_TRUE(answer("/").ends_with("\r\n\r\nseen"));
    EXPECT_TRUE(answer("/", "Via: 1.1 proxy\r\n").ends_with("\r\n\r\nhidden"));
}

}  // namespace
}  // namespace sync_engine

// sync-gateway's own server (src/gateway, Asio and Beast's parser) with a handler that does nothing.
#include <memory>

#include "gateway/program.hpp"
#include "reply.hpp"

namespace {

class Fixed : public sync_engine::Handler {
  public:
    boost::asio::awaitable<sync_engine::HttpReply> handle(sync_engine::HttpRequest) override {
        sync_engine::HttpReply reply;
        reply.headers.emplace_back("Content-Type", "application/json");
        reply.body = reply_text();
        co_return reply;
    }
};

}  // namespace

int main(int argc, char** argv) {
    return sync_engine::gateway_main(
        argc, argv, [](const sync_engine::GatewayParts&) -> std::unique_ptr<sync_engine::Handler> {
            return std::make_unique<Fixed>();
        });
}

// The server of sync-gateway with a handler for its tests: tells what it was asked, waits, streams, fails.
#include <chrono>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <prometheus/text_serializer.h>

#include "connectors/url_text.hpp"
#include "gateway/event_source.hpp"
#include "gateway/program.hpp"
#include "process/json_string.hpp"

namespace sync_engine {
namespace {

namespace asio = boost::asio;

long number(const HttpRequest& request, std::string_view name, long otherwise) {
    const auto values = parameter_values("http://x" + request.target, name);
    return values.empty() ? otherwise : std::strtol(values.front().c_str(), nullptr, 10);
}

// Events of `bytes` bytes every `ms`; `count` of them, or without end.
class Ticks : public EventSource {
  public:
    Ticks(const asio::any_io_executor& executor, const HttpRequest& request, int& open)
        : timer_(executor),
          pause_(number(request, "ms", 10)),
          left_(number(request, "count", -1)),
          padding_(static_cast<std::size_t>(number(request, "bytes", 0)), 'x'),
          open_(open) {
        ++open_;
    }
    ~Ticks() override { --open_; }

    asio::awaitable<std::string> next() override {
        if (!closed_ && left_ != 0) {
            timer_.expires_after(pause_);
            boost::system::error_code cancelled;
            co_await timer_.async_wait(asio::redirect_error(asio::use_awaitable, cancelled));
        }
        if (closed_ || left_ == 0) {
            co_return std::string();
        }
        left_ -= left_ > 0 ? 1 : 0;
        co_return "data: " + std::to_string(++number_) + padding_ + "\n\n";
    }

    void closed() noexcept override {
        closed_ = true;
        timer_.cancel();
    }

  private:
    asio::steady_timer timer_;
    std::chrono::milliseconds pause_;
    long left_;
    std::string padding_;
    long number_ = 0;
    bool closed_ = false;
    int& open_;
};

void append(std::string& out, std::string_view name, std::string_view value) {
    out += out.empty() ? "{" : ",";
    append_json_string(out, name);
    out += ':';
    append_json_string(out, value);
}

class Echo : public Handler {
  public:
    explicit Echo(const GatewayParts& parts) : parts_(parts) {}

    asio::awaitable<HttpReply> handle(HttpRequest request) override {
        if (request.path == "/slow" || request.path == "/stuck") {
            co_await wait(request);
        }
        if (request.path == "/throw") {
            throw std::runtime_error("this handler throws");
        }
        if (request.path == "/events") {
            HttpReply reply;
            reply.headers.emplace_back("Content-Type", "text/event-stream");
            reply.body = ": hello\n\n";
            reply.events = std::make_shared<Ticks>(co_await asio::this_coro::executor, request, streams_);
            co_return reply;
        }
        co_return answer(request);
    }

  private:
    // /stuck does not let itself be stopped.
    static asio::awaitable<void> wait(const HttpRequest& request) {
        const bool stuck = request.path == "/stuck";
        const auto until =
            std::chrono::steady_clock::now() + std::chrono::milliseconds(number(request, "ms", 0));
        asio::steady_timer timer(co_await asio::this_coro::executor);
        co_await asio::this_coro::throw_if_cancelled(false);
        do {
            timer.expires_at(until);
            boost::system::error_code cancelled;
            co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, cancelled));
            if (stuck) {
                co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
            }
        } while (stuck && std::chrono::steady_clock::now() < until);
    }

    HttpReply answer(const HttpRequest& request) {
        HttpReply reply;
        reply.status = static_cast<unsigned>(number(request, "status", 200));
        if (request.path == "/metrics") {
            reply.body = prometheus::TextSerializer().Serialize(parts_.metrics.registry().Collect());
        } else if (request.path == "/big") {
            reply.body.assign(static_cast<std::size_t>(number(request, "bytes", 0)), 'x');
        } else if (request.path == "/streams") {
            reply.body = std::to_string(streams_);
        } else {
            reply.headers.emplace_back("Content-Type", "application/json");
            reply.body = told(request);
        }
        if (request.path == "/headers") {
            reply.headers.emplace_back("Cache-Control", "max-age=5");
            reply.headers.emplace_back("X-Split", "a\r\nX-Injected: yes");
            reply.headers.emplace_back("X Bad", "name");
            reply.headers.emplace_back("Content-Length", "1");
            reply.headers.emplace_back("Transfer-Encoding", "chunked");
        }
        return reply;
    }

    static std::string told(const HttpRequest& request) {
        std::string headers;
        for (const auto& [name, value] : request.headers) {
            append(headers, name, value);
        }
        std::string out;
        append(out, "method", request.method);
        append(out, "target", request.target);
        append(out, "path", request.path);
        append(out, "query", request.query);
        append(out, "client", request.client);
        append(out, "secure", request.secure ? "yes" : "no");
        append(out, "request_id", request.request_id);
        append(out, "body", request.body);
        return out + ",\"headers\":" + (headers.empty() ? "{" : headers) + "}}";
    }

    GatewayParts parts_;
    int streams_ = 0;
};

}  // namespace
}  // namespace sync_engine

int main(int argc, char** argv) {
    using namespace sync_engine;
    return gateway_main(argc, argv, [](const GatewayParts& parts) -> std::unique_ptr<Handler> {
        return std::make_unique<Echo>(parts);
    });
}

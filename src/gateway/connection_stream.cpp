// Connections that have become streams of events.
#include "gateway/connection.hpp"

#include <array>
#include <ctime>
#include <exception>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "gateway/exchange.hpp"

namespace sync_engine {

namespace asio = boost::asio;

namespace {

constexpr double kForever = 1e9;

}  // namespace

// Never goes on: the connection ends with the stream.
asio::awaitable<bool> Connection::stream(Exchange& exchange, const HttpReply& reply) {
    exchange.is_stream = true;
    exchange.context.request_id = exchange.request_id;
    exchange.context.now = std::time(nullptr);
    const std::shared_ptr<EventSource> events = reply.events;
    std::string head = reply_head(reply, exchange.context);
    if (exchange.context.is_head) {
        events->closed();
        end(exchange, reply.status, co_await write(head));
        co_return false;
    }
    events_ = events;
    tools_.metrics.stream_opened();
    if (!reply.body.empty()) {
        head += exchange.context.is_http_1_0 ? reply.body : chunk(reply.body);
        exchange.body_bytes += reply.body.size();
    }
    bool complete = co_await write(head);
    if (complete) {
        asio::co_spawn(
            executor_, [self = shared_from_this()]() { return self->watch_client(); }, asio::detached);
        complete = co_await send_events(exchange, *events);
    }
    events->closed();
    events_.reset();
    tools_.metrics.stream_closed();
    end(exchange, reply.status, complete);
    // What watches the client reads still: no second reader may wait for the client's end beside it.
    gone_ = true;
    transport_->cut();
    co_return false;
}

asio::awaitable<bool> Connection::send_events(Exchange& exchange, EventSource& events) {
    const bool plain = exchange.context.is_http_1_0;
    if (tools_.draining) {
        events.closed();
    }
    for (bool last = false; !last;) {
        set_phase(Phase::streaming, kForever);
        std::string data = co_await next_events(events);
        if (gone_) {
            co_return false;
        }
        last = data.empty();
        if (last && tools_.draining) {
            data = "retry: 1000\nevent: stopping\ndata: {}\n\n";
        }
        exchange.body_bytes += data.size();
        std::string text = plain || data.empty() ? data : chunk(data);
        if (last && !plain) {
            text += chunk({});
        }
        set_phase(Phase::streaming, tools_.options.write_timeout);
        const bool written = co_await transport_->write(text);
        if (!written || expired_) {
            co_return false;
        }
    }
    co_return true;
}

asio::awaitable<std::string> Connection::next_events(EventSource& events) {
    try {
        co_return co_await events.next();
    } catch (const std::exception& error) {
        tools_.log.error("a stream failed", {{"error", error.what()}});
    }
    co_return std::string();
}

// Reads beside the stream, so that a client that leaves is noticed though nothing is written.
asio::awaitable<void> Connection::watch_client() {
    constexpr std::size_t kMost = 16 * 1024;
    std::array<char, 1024> waste{};
    std::size_t total = 0;
    while (!gone_ && total <= kMost) {
        const std::size_t count = co_await transport_->read_some(waste);
        if (count == 0) {
            break;
        }
        total += count;
    }
    gone_ = true;
    if (events_) {
        events_->closed();
    }
    co_return;
}

}  // namespace sync_engine

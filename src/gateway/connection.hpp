#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include "gateway/event_source.hpp"
#include "gateway/gateway_metrics.hpp"
#include "gateway/handler.hpp"
#include "gateway/http_message.hpp"
#include "gateway/options.hpp"
#include "gateway/problem.hpp"
#include "gateway/reply_text.hpp"
#include "gateway/request_id.hpp"
#include "gateway/request_reader.hpp"
#include "gateway/transport.hpp"
#include "process/ip_address.hpp"
#include "process/log.hpp"

namespace sync_engine {

class ConnectionList;

using GatewayClock = std::chrono::steady_clock;

// What all connections share; everything is borrowed and outlives them.
struct ConnectionTools {
    const GatewayOptions& options;
    Handler& handler;
    Logger& log;
    GatewayMetrics& metrics;
    ConnectionList& list;
    RequestIds ids{};
    bool draining = false;
    std::size_t handling = 0;  // handlers that have not returned, also those nobody waits for any more
};

// One connection of a client, from its handshake to its end. Deadlines are looked at by the server's ticks,
// so that setting one, which each request does several times, is an assignment.
class Connection : public std::enable_shared_from_this<Connection> {
  public:
    Connection(boost::asio::any_io_executor executor, std::unique_ptr<Transport> transport,
               const IpAddress& peer, ConnectionTools& tools);
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;
    ~Connection();

    // Serves until the connection is at its end. Holds the connection itself meanwhile.
    static boost::asio::awaitable<void> serve(std::shared_ptr<Connection> self);

    const IpAddress& peer() const noexcept { return peer_; }

    void tick(GatewayClock::time_point now);

    // The server stops: ends what idles or streams; what is under way is the connection's last.
    void drain();

    // Ends it, whatever it does.
    void cut();

  private:
    enum class Phase { opening, idle, reading, handling, writing, streaming, closing };
    struct Pending;
    struct Exchange;

    boost::asio::awaitable<bool> serve_one();
    boost::asio::awaitable<bool> read_request(Exchange& exchange, RequestReader& reader);
    boost::asio::awaitable<bool> receive();
    boost::asio::awaitable<HttpReply> handle(HttpRequest request);
    HttpReply outcome(Pending& pending, const std::string& request_id);
    boost::asio::awaitable<void> refuse(Exchange& exchange, const Problem& problem);
    boost::asio::awaitable<bool> send(Exchange& exchange, const HttpReply& reply);
    boost::asio::awaitable<bool> write(std::string_view data);
    boost::asio::awaitable<bool> stream(Exchange& exchange, const HttpReply& reply);
    boost::asio::awaitable<bool> send_events(Exchange& exchange, EventSource& events);
    boost::asio::awaitable<std::string> next_events(EventSource& events);
    boost::asio::awaitable<void> watch_client();
    void end(const Exchange& exchange, unsigned status, bool complete);

    void identify(HttpRequest& request);
    void set_phase(Phase phase, double seconds);

    boost::asio::any_io_executor executor_;
    std::unique_ptr<Transport> transport_;
    IpAddress peer_;
    ConnectionTools& tools_;
    std::string received_;  // and not yet taken by a request
    Phase phase_ = Phase::opening;
    GatewayClock::time_point deadline_;
    bool expired_ = false;
    int served_ = 0;
    bool gone_ = false;  // the client is, or was cut off: nothing more is to be said
    std::shared_ptr<EventSource> events_;
    std::shared_ptr<Pending> pending_;
};

}  // namespace sync_engine

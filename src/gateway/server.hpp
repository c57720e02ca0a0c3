#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>

#include "gateway/connection.hpp"
#include "gateway/connection_list.hpp"

namespace sync_engine {

struct TlsContext;

// Listens, and keeps the connections: how many there may be, their deadlines, their end. What it is given is
// borrowed.
class Server {
  public:
    Server(boost::asio::io_context& io, const GatewayOptions& options, Handler& handler, Logger& log,
           GatewayMetrics& metrics);
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;
    ~Server();

    // Throws std::exception where the address or the certificate cannot be used.
    void start();

    // The port that is listened on.
    std::uint16_t port() const;

    // Reads the certificate anew for connections to come. One that cannot be used is logged, and the former
    // stays.
    void reload_certificate();

    // Accepts nobody any more; lets requests that are under way finish, for at most drain_seconds.
    void drain();

    // After drain(): whether all connections are gone.
    bool drained() const noexcept;

    // Handlers that have not returned; those whose request was given up may.
    std::size_t handling() const noexcept { return tools_.handling; }

  private:
    using Socket = boost::asio::ip::tcp::socket;

    boost::asio::awaitable<void> accept();
    boost::asio::awaitable<void> wait_for_files(const boost::system::error_code& error);
    void admit(Socket socket);
    void refuse(Socket socket, std::string_view reason);
    boost::asio::awaitable<void> tell_refused(std::shared_ptr<Socket> socket);
    void log_refusals(std::string_view reason, const IpAddress& peer);
    void keep_ticking();
    void tick();

    boost::asio::io_context& io_;
    const GatewayOptions& options_;
    ConnectionList list_;
    ConnectionTools tools_;
    std::shared_ptr<TlsContext> tls_;
    boost::asio::ip::tcp::acceptor acceptor_;
    boost::asio::steady_timer pause_;
    boost::asio::steady_timer ticks_;
    bool ticking_ = false;
    std::size_t telling_ = 0;  // sockets that are being told that they are refused
    bool accepting_ = false;
    bool paused_ = false;  // accepting, for want of file descriptors
    GatewayClock::time_point refusals_logged_{};
    std::int64_t refusals_ = 0;  // since then
    GatewayClock::time_point drain_until_{};
    bool was_cut_ = false;
};

}  // namespace sync_engine

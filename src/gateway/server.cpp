#include "gateway/server.hpp"

#include <array>
#include <ctime>
#include <stdexcept>
#include <utility>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include "gateway/client_address.hpp"
#include "gateway/make_transport.hpp"
#include "gateway/reply_text.hpp"
#include "gateway/tls_context.hpp"

namespace sync_engine {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

constexpr std::chrono::milliseconds kTick{100};
constexpr std::chrono::milliseconds kFilesPause{200};
constexpr std::size_t kMostTold = 64;

IpAddress address_of(const tcp::socket& socket) {
    error_code error;
    const tcp::endpoint peer = socket.remote_endpoint(error);
    if (error) {
        return {};
    }
    const auto endpoint = endpoint_of(peer.data(), static_cast<socklen_t>(peer.size()));
    return endpoint ? endpoint->address : IpAddress();
}

tcp::endpoint endpoint_to_listen(asio::io_context& io, const GatewayOptions& options) {
    tcp::resolver resolver(io);
    error_code error;
    const auto found = resolver.resolve(options.listen_host, std::to_string(options.listen_port),
                                        tcp::resolver::passive | tcp::resolver::numeric_service, error);
    if (error || found.empty()) {
        throw std::runtime_error("cannot listen on " + options.listen_host + ": " + error.message());
    }
    return found.begin()->endpoint();
}

}  // namespace

Server::Server(asio::io_context& io, const GatewayOptions& options, Handler& handler, Logger& log,
               GatewayMetrics& metrics)
    : io_(io),
      options_(options),
      tools_{options, handler, log, metrics, list_},
      acceptor_(io),
      pause_(io),
      ticks_(io) {}

Server::~Server() = default;

void Server::start() {
    if (!options_.tls_cert.empty()) {
        tls_ = make_tls_context(options_.tls_cert, options_.tls_key);
    }
    const tcp::endpoint endpoint = endpoint_to_listen(io_, options_);
    acceptor_.open(endpoint.protocol());
    acceptor_.set_option(tcp::acceptor::reuse_address(true));
    acceptor_.bind(endpoint);
    acceptor_.listen(asio::socket_base::max_listen_connections);
    acceptor_.non_blocking(true);
    accepting_ = true;
    asio::co_spawn(io_, accept(), asio::detached);
}

std::uint16_t Server::port() const {
    return acceptor_.local_endpoint().port();
}

void Server::reload_certificate() {
    if (options_.tls_cert.empty()) {
        tools_.log.info("there is no certificate to reload");
        return;
    }
    try {
        tls_ = make_tls_context(options_.tls_cert, options_.tls_key);
        tools_.log.info("certificate reloaded", {{"file", options_.tls_cert}});
    } catch (const std::exception& error) {
        tools_.log.error("the certificate could not be reloaded; the former stays",
                         {{"error", error.what()}});
    }
}

asio::awaitable<void> Server::accept() {
    while (!tools_.draining) {
        error_code error;
        Socket socket = co_await acceptor_.async_accept(asio::redirect_error(asio::use_awaitable, error));
        if (!error) {
            paused_ = false;
            admit(std::move(socket));
        } else if (error == asio::error::no_descriptors || error == asio::error::no_buffer_space ||
                   error == asio::error::no_memory || error.value() == ENFILE) {
            co_await wait_for_files(error);
        } else if (error != asio::error::operation_aborted) {
            // A client that has left already, or the network: of no concern to others.
            tools_.log.debug("a connection could not be accepted", {{"error", error.message()}});
        }
    }
    // Whoever was waiting in the kernel's queue would be cut off without a word.
    error_code error;
    while (!error) {
        Socket socket(io_);
        acceptor_.accept(socket, error);
        if (!error) {
            admit(std::move(socket));
        }
    }
    acceptor_.close(error);
    accepting_ = false;
}

asio::awaitable<void> Server::wait_for_files(const error_code& error) {
    if (!paused_) {
        paused_ = true;
        tools_.metrics.refused("files");
        tools_.log.warn(
            "no file descriptor is left: accepting pauses",
            {{"error", error.message()}, {"connections", static_cast<std::int64_t>(list_.size())}});
    }
    pause_.expires_after(kFilesPause);
    error_code ignored;
    co_await pause_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
}

void Server::admit(Socket socket) {
    const IpAddress peer = address_of(socket);
    error_code ignored;
    socket.set_option(tcp::no_delay(true), ignored);
    const auto most = static_cast<std::size_t>(options_.max_connections);
    const auto most_of_client = static_cast<std::size_t>(options_.max_connections_per_client);
    if (list_.size() >= most) {
        return refuse(std::move(socket), "connections");
    }
    if (list_.of_client(peer) >= most_of_client && !is_trusted_proxy(peer, options_.trusted_proxies)) {
        return refuse(std::move(socket), "client");
    }
    auto connection = std::make_shared<Connection>(io_.get_executor(),
                                                   make_transport(std::move(socket), tls_), peer, tools_);
    if (tools_.draining) {
        connection->drain();
    }
    keep_ticking();
    asio::co_spawn(io_, Connection::serve(std::move(connection)), asio::detached);
}

// Over plain HTTP the client is told, as far as that costs next to nothing.
void Server::refuse(Socket socket, std::string_view reason) {
    tools_.metrics.refused(reason);
    log_refusals(reason, address_of(socket));
    if (!tls_ && telling_ < kMostTold) {
        ++telling_;
        asio::co_spawn(io_, tell_refused(std::make_shared<Socket>(std::move(socket))), asio::detached);
    }
}

// At most a line a second: whoever makes connections in vain shall not fill the log.
void Server::log_refusals(std::string_view reason, const IpAddress& peer) {
    ++refusals_;
    const auto now = GatewayClock::now();
    if (now - refusals_logged_ < std::chrono::seconds(1)) {
        return;
    }
    refusals_logged_ = now;
    tools_.log.warn(
        "connections were refused: there are too many",
        {{"limit", reason}, {"client", client_key(peer)}, {"refused", std::exchange(refusals_, 0)}});
}

asio::awaitable<void> Server::tell_refused(std::shared_ptr<Socket> socket) {
    Problem problem;
    problem.status = 503;
    problem.code = "too_many_connections";
    problem.detail = "there are too many connections";
    const std::string request_id = tools_.ids.make();
    HttpReply reply = problem_reply(problem, request_id);
    reply.headers.emplace_back("Retry-After", "1");
    ReplyContext context;
    context.request_id = request_id;
    context.now = std::time(nullptr);
    const std::string text = reply_head(reply, context) + reply.body;
    error_code error;
    // A fresh socket's buffer takes this at once or never.
    socket->non_blocking(true, error);
    socket->write_some(asio::buffer(text), error);
    socket->shutdown(Socket::shutdown_send, error);
    // Its request must be read before the socket is closed, or the client would not see the answer.
    asio::steady_timer limit(io_, std::chrono::seconds(1));
    limit.async_wait([socket](const error_code& cancelled) {
        if (!cancelled) {
            error_code ignored;
            socket->cancel(ignored);
        }
    });
    std::array<char, 4096> waste{};
    for (std::size_t total = 0; !error && total < 16 * waste.size();) {
        total += co_await socket->async_read_some(asio::buffer(waste),
                                                  asio::redirect_error(asio::use_awaitable, error));
    }
    --telling_;
}

void Server::keep_ticking() {
    if (ticking_) {
        return;
    }
    ticking_ = true;
    ticks_.expires_after(kTick);
    ticks_.async_wait([this](const error_code& error) {
        ticking_ = false;
        if (!error) {
            tick();
        }
    });
}

void Server::tick() {
    const auto now = GatewayClock::now();
    list_.for_each([now](Connection& connection) { connection.tick(now); });
    if (tools_.draining && !was_cut_ && now >= drain_until_) {
        was_cut_ = true;
        tools_.log.warn("requests that are still under way are cut off",
                        {{"connections", static_cast<std::int64_t>(list_.size())}});
        list_.for_each([](Connection& connection) { connection.cut(); });
    }
    if (list_.size() > 0) {
        keep_ticking();
    }
}

void Server::drain() {
    if (tools_.draining) {
        return;
    }
    tools_.draining = true;
    tools_.handler.drain();
    drain_until_ = GatewayClock::now() + std::chrono::duration_cast<GatewayClock::duration>(
                                             std::chrono::duration<double>(options_.drain_seconds));
    tools_.log.info("draining", {{"connections", static_cast<std::int64_t>(list_.size())}});
    error_code ignored;
    acceptor_.cancel(ignored);
    pause_.cancel();
    list_.for_each([](Connection& connection) { connection.drain(); });
}

bool Server::drained() const noexcept {
    return tools_.draining && !accepting_ && list_.size() == 0 && telling_ == 0;
}

}  // namespace sync_engine

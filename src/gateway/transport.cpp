#include "gateway/make_transport.hpp"

#include <array>

#include <boost/asio/buffer.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include "gateway/tls_context.hpp"

namespace sync_engine {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

Transport::~Transport() = default;

namespace {

// Takes bytes that nobody wants until the client ends its side too.
asio::awaitable<void> discard(tcp::socket& socket) {
    constexpr std::size_t kMost = 4U << 20U;
    std::array<char, 8192> waste{};
    error_code error;
    socket.shutdown(tcp::socket::shutdown_send, error);
    for (std::size_t total = 0; !error && total < kMost;) {
        total += co_await socket.async_read_some(asio::buffer(waste),
                                                 asio::redirect_error(asio::use_awaitable, error));
    }
}

template <class Stream>
asio::awaitable<std::size_t> read_from(Stream& stream, std::span<char> into) {
    error_code error;
    const std::size_t count = co_await stream.async_read_some(
        asio::buffer(into.data(), into.size()), asio::redirect_error(asio::use_awaitable, error));
    co_return error ? 0 : count;
}

template <class Stream>
asio::awaitable<bool> write_to(Stream& stream, std::string_view data) {
    error_code error;
    co_await asio::async_write(stream, asio::buffer(data.data(), data.size()),
                               asio::redirect_error(asio::use_awaitable, error));
    co_return !error;
}

class PlainTransport : public Transport {
  public:
    explicit PlainTransport(tcp::socket socket) : socket_(std::move(socket)) {}

    bool is_tls() const noexcept override { return false; }

    asio::awaitable<bool> handshake() override { co_return true; }

    asio::awaitable<std::size_t> read_some(std::span<char> into) override { return read_from(socket_, into); }

    asio::awaitable<bool> write(std::string_view data) override { return write_to(socket_, data); }

    asio::awaitable<void> finish() override { return discard(socket_); }

    void cancel() noexcept override {
        error_code ignored;
        socket_.cancel(ignored);
    }

    void cut() noexcept override {
        error_code ignored;
        socket_.close(ignored);
    }

  private:
    tcp::socket socket_;
};

class TlsTransport : public Transport {
  public:
    TlsTransport(tcp::socket socket, std::shared_ptr<TlsContext> context)
        : context_(std::move(context)), stream_(std::move(socket), context_->context) {}

    bool is_tls() const noexcept override { return true; }

    asio::awaitable<bool> handshake() override {
        error_code error;
        co_await stream_.async_handshake(asio::ssl::stream_base::server,
                                         asio::redirect_error(asio::use_awaitable, error));
        co_return !error;
    }

    asio::awaitable<std::size_t> read_some(std::span<char> into) override { return read_from(stream_, into); }

    asio::awaitable<bool> write(std::string_view data) override { return write_to(stream_, data); }

    asio::awaitable<void> finish() override {
        error_code error;
        co_await stream_.async_shutdown(asio::redirect_error(asio::use_awaitable, error));
        if (error != asio::error::operation_aborted) {
            co_await discard(stream_.next_layer());
        }
        co_return;
    }

    void cancel() noexcept override {
        error_code ignored;
        stream_.next_layer().cancel(ignored);
    }

    void cut() noexcept override {
        error_code ignored;
        stream_.next_layer().close(ignored);
    }

  private:
    std::shared_ptr<TlsContext> context_;  // of the certificate that there was when the client came
    asio::ssl::stream<tcp::socket> stream_;
};

}  // namespace

std::unique_ptr<Transport> make_transport(tcp::socket socket, std::shared_ptr<TlsContext> tls) {
    if (tls) {
        return std::make_unique<TlsTransport>(std::move(socket), std::move(tls));
    }
    return std::make_unique<PlainTransport>(std::move(socket));
}

}  // namespace sync_engine

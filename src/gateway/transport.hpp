#pragma once

// A connection's bytes, whether TLS carries them or not. What reads and writes requests knows no more of
// streams than this, so that Asio's templates for them are compiled in one place.

#include <cstddef>
#include <span>
#include <string_view>

#include <boost/asio/awaitable.hpp>

namespace sync_engine {

class Transport {
  public:
    Transport() = default;
    Transport(const Transport&) = delete;
    Transport& operator=(const Transport&) = delete;
    virtual ~Transport();

    virtual bool is_tls() const noexcept = 0;

    // What comes before the first byte. False: the client is none of ours.
    virtual boost::asio::awaitable<bool> handshake() = 0;

    // The number of bytes read; 0: the end, an error or cancel().
    virtual boost::asio::awaitable<std::size_t> read_some(std::span<char> into) = 0;

    // Writes all of it. False: an error or cancel().
    virtual boost::asio::awaitable<bool> write(std::string_view data) = 0;

    // Ends our side and reads what still comes, for a while, to nowhere: closing while the client sends would
    // take the last answer from it.
    virtual boost::asio::awaitable<void> finish() = 0;

    // Ends what waits.
    virtual void cancel() noexcept = 0;

    // Closes the socket.
    virtual void cut() noexcept = 0;
};

}  // namespace sync_engine

#pragma once

#include <memory>

#include <boost/asio/ip/tcp.hpp>

#include "gateway/transport.hpp"

namespace sync_engine {

struct TlsContext;

// `tls` null: without.
std::unique_ptr<Transport> make_transport(boost::asio::ip::tcp::socket socket,
                                          std::shared_ptr<TlsContext> tls);

}  // namespace sync_engine

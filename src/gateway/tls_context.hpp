#pragma once

#include <memory>
#include <string>

#include <boost/asio/ssl/context.hpp>

namespace sync_engine {

struct TlsContext {
    boost::asio::ssl::context context;
};

// TLS 1.2 and later, HTTP/1.1 by ALPN. Throws std::runtime_error, which names the file that cannot be used.
std::shared_ptr<TlsContext> make_tls_context(const std::string& certificate_file,
                                             const std::string& key_file);

}  // namespace sync_engine

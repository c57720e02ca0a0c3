#include "gateway/tls_context.hpp"

#include <array>
#include <stdexcept>

#include <openssl/ssl.h>

namespace sync_engine {

namespace asio = boost::asio;
using boost::system::error_code;

namespace {

// The client's list is "\2h2\10http/1.1" and the like. One that has nothing of ours is told so by an alert.
int choose_protocol(SSL*, const unsigned char** out, unsigned char* out_length, const unsigned char* in,
                    unsigned int in_length, void*) {
    static constexpr std::array<unsigned char, 9> ours{8, 'h', 't', 't', 'p', '/', '1', '.', '1'};
    unsigned char* chosen = nullptr;
    const int found = SSL_select_next_proto(&chosen, out_length, ours.data(), ours.size(), in, in_length);
    *out = chosen;
    return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

void check(const error_code& error, const std::string& file) {
    if (error) {
        throw std::runtime_error("cannot use " + file + ": " + error.message());
    }
}

}  // namespace

std::shared_ptr<TlsContext> make_tls_context(const std::string& certificate_file,
                                             const std::string& key_file) {
    auto tls = std::make_shared<TlsContext>(TlsContext{asio::ssl::context(asio::ssl::context::tls_server)});
    SSL_CTX* native = tls->context.native_handle();
    SSL_CTX_set_min_proto_version(native, TLS1_2_VERSION);
    SSL_CTX_set_options(native,
                        SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_mode(native, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_alpn_select_cb(native, choose_protocol, nullptr);
    error_code error;
    tls->context.use_certificate_chain_file(certificate_file, error);
    check(error, certificate_file);
    tls->context.use_private_key_file(key_file, asio::ssl::context::pem, error);
    check(error, key_file);
    if (SSL_CTX_check_private_key(native) != 1) {
        throw std::runtime_error(key_file + " is not the key of " + certificate_file);
    }
    return tls;
}

}  // namespace sync_engine

#include "gateway/api/request_hash.hpp"

#include <array>
#include <stdexcept>

#include <openssl/evp.h>

namespace sync_engine {

std::string sha256_hex(std::string_view text) {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned size = 0;
    if (EVP_Digest(text.data(), text.size(), digest.data(), &size, EVP_sha256(), nullptr) != 1) {
        throw std::runtime_error("SHA-256 is not available");
    }
    std::string out;
    for (unsigned i = 0; i < size; ++i) {
        out += "0123456789abcdef"[digest[i] >> 4];
        out += "0123456789abcdef"[digest[i] & 0xf];
    }
    return out;
}

std::string request_hash(const HttpRequest& request) {
    return sha256_hex(request.method + "\n" + request.target + "\n" + request.body);
}

}  // namespace sync_engine

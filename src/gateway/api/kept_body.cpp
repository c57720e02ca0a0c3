#include "gateway/api/kept_body.hpp"

#include <array>
#include <memory>
#include <stdexcept>

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include "notify/base64.hpp"

namespace sync_engine {

namespace {

constexpr std::size_t kNonceSize = 12;
constexpr std::size_t kTagSize = 16;
using SealKey = std::array<unsigned char, 32>;

struct FreeCipher {
    void operator()(EVP_CIPHER_CTX* context) const noexcept { EVP_CIPHER_CTX_free(context); }
};
using Cipher = std::unique_ptr<EVP_CIPHER_CTX, FreeCipher>;

void require(bool done) {
    if (!done) {
        throw std::runtime_error("OpenSSL cannot seal an answer");
    }
}

const unsigned char* bytes_of(std::string_view text) {
    return reinterpret_cast<const unsigned char*>(text.data());
}

unsigned char* bytes_of(std::string& text) {
    return reinterpret_cast<unsigned char*>(text.data());
}

SealKey seal_key(std::string_view token, std::string_view idempotency_key) {
    SealKey key{};
    unsigned size = 0;
    const std::string about = "sync-gateway idempotency " + std::string(idempotency_key);
    require(HMAC(EVP_sha256(), token.data(), static_cast<int>(token.size()),
                 bytes_of(std::string_view(about)), about.size(), key.data(), &size) != nullptr &&
            size == key.size());
    return key;
}

}  // namespace

std::string seal_body(std::string_view token, std::string_view idempotency_key, std::string_view body) {
    const SealKey key = seal_key(token, idempotency_key);
    std::string out(kNonceSize + body.size() + kTagSize, '\0');
    require(RAND_bytes(bytes_of(out), kNonceSize) == 1);
    const Cipher cipher(EVP_CIPHER_CTX_new());
    int size = 0;
    require(cipher != nullptr &&
            EVP_EncryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, key.data(), bytes_of(out)) == 1);
    require(EVP_EncryptUpdate(cipher.get(), bytes_of(out) + kNonceSize, &size, bytes_of(body),
                              static_cast<int>(body.size())) == 1);
    unsigned char* tag = bytes_of(out) + kNonceSize + body.size();
    require(EVP_EncryptFinal_ex(cipher.get(), tag, &size) == 1 &&
            EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_GET_TAG, kTagSize, tag) == 1);
    return base64_encode(out);
}

std::optional<std::string> unseal_body(std::string_view token, std::string_view idempotency_key,
                                       std::string_view sealed) {
    std::optional<std::string> in = base64_decode(sealed);
    if (!in || in->size() < kNonceSize + kTagSize) {
        return std::nullopt;
    }
    const SealKey key = seal_key(token, idempotency_key);
    std::string out(in->size() - kNonceSize - kTagSize, '\0');
    const Cipher cipher(EVP_CIPHER_CTX_new());
    int size = 0;
    require(cipher != nullptr &&
            EVP_DecryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, key.data(), bytes_of(*in)) == 1);
    require(EVP_DecryptUpdate(cipher.get(), bytes_of(out), &size, bytes_of(*in) + kNonceSize,
                              static_cast<int>(out.size())) == 1);
    unsigned char* tag = bytes_of(*in) + kNonceSize + out.size();
    require(EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_SET_TAG, kTagSize, tag) == 1);
    std::array<unsigned char, kTagSize> rest{};
    if (EVP_DecryptFinal_ex(cipher.get(), rest.data(), &size) != 1) {
        return std::nullopt;
    }
    return out;
}

}  // namespace sync_engine

#include "notify/webhook_signature.hpp"

#include <array>
#include <optional>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "notify/base64.hpp"

namespace sync_engine {
namespace {

constexpr std::string_view kSecretPrefix = "whsec_";
constexpr std::size_t kMinKeyBytes = 24;
constexpr std::size_t kMaxKeyBytes = 64;

// A key that is wiped when it is no longer needed.
class Key {
  public:
    explicit Key(std::string bytes) : bytes_(std::move(bytes)) {}
    Key(const Key&) = delete;
    Key& operator=(const Key&) = delete;
    ~Key() { OPENSSL_cleanse(bytes_.data(), bytes_.size()); }

    std::size_t size() const noexcept { return bytes_.size(); }

    // Empty when OpenSSL cannot.
    std::string hmac_sha256(std::string_view text) const {
        std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
        unsigned length = 0;
        const auto* data = reinterpret_cast<const unsigned char*>(text.data());
        if (HMAC(EVP_sha256(), bytes_.data(), static_cast<int>(bytes_.size()), data, text.size(),
                 digest.data(), &length) == nullptr) {
            return {};
        }
        return {reinterpret_cast<const char*>(digest.data()), length};
    }

  private:
    std::string bytes_;
};

// What is wrong with the key, or its signature appended to `value`.
std::string_view sign(std::string_view secret, std::string_view content, std::string& value) {
    if (secret.starts_with(kSecretPrefix)) {
        secret.remove_prefix(kSecretPrefix.size());
    }
    auto bytes = base64_decode(secret);
    if (!bytes) {
        return "is not base64";
    }
    const Key key(std::move(*bytes));
    if (key.size() < kMinKeyBytes || key.size() > kMaxKeyBytes) {
        return "is not 24 to 64 bytes long";
    }
    const std::string digest = key.hmac_sha256(content);
    if (digest.empty()) {
        return "cannot be used: OpenSSL has no HMAC-SHA256";
    }
    value += value.empty() ? "v1," : " v1,";
    value += base64_encode(digest);
    return {};
}

}  // namespace

WebhookSignature webhook_signature(std::string_view id, std::int64_t timestamp, std::string_view body,
                                   const std::vector<std::string>& secrets) {
    if (id.empty() || id.find('.') != std::string_view::npos) {
        return {"", "the message's id is empty or holds a dot"};
    }
    if (secrets.empty()) {
        return {"", "there is no signing secret"};
    }
    std::string content(id);
    content += '.' + std::to_string(timestamp) + '.';
    content += body;
    std::string value;
    for (std::size_t i = 0; i < secrets.size(); ++i) {
        if (const std::string_view fault = sign(secrets[i], content, value); !fault.empty()) {
            return {"", "signing secret " + std::to_string(i + 1) + " of " + std::to_string(secrets.size()) +
                            " " + std::string(fault)};
        }
    }
    return {std::move(value), ""};
}

}  // namespace sync_engine

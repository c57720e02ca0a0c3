#include "executor/http_client.hpp"

#include <algorithm>
#include <string_view>
#include <utility>

#include <unistd.h>

#include "connectors/ascii.hpp"
#include "core/url.hpp"

namespace sync_engine {

namespace {

constexpr long kDefaultTimeoutMs = 30'000;
constexpr long kDefaultConnectTimeoutMs = 10'000;
constexpr std::size_t kMaxHeaderBytes = 256 * 1024;
constexpr std::size_t kMaxSpareHandles = 1024;
// How long the beginning of a body is waited for where that suffices.
constexpr double kBeginningSeconds = 1;
// Of each transfer that is under way; a reply is read in pieces of that size.
constexpr long kBufferBytes = 16 * 1024;
constexpr std::string_view kNoConnection =
    "no connection to the host: it is unknown, unreachable, refuses connections, or has an address that this "
    "executor may not connect to";

bool is_token(std::string_view text) {
    constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
    return !text.empty() && std::all_of(text.begin(), text.end(), [&](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
               kMarks.find(c) != std::string_view::npos;
    });
}

bool is_field_value(std::string_view text) {
    return std::none_of(text.begin(), text.end(), [](char c) { return c == '\r' || c == '\n' || c == '\0'; });
}

// Why the request cannot be sent; empty when it can.
std::string fault_of(const ApiRequest& request) {
    if (!is_token(request.method)) {
        return "the request's method is not a token";
    }
    if (!parse_url(request.url)) {
        return "the request's URL is not a plain http or https URL";
    }
    for (const auto& [name, value] : request.headers) {
        if (!is_token(name) || !is_field_value(value)) {
            return "a request header holds characters that a header cannot carry";
        }
    }
    return {};
}

constexpr std::string_view kBlanks = " \t\r\n";

}  // namespace

struct HttpClient::Transfer : CurlTransfer {
    Transfer(HttpClient& its_client, TransferId its_id, Done when_done)
        : client(its_client), id(its_id), done(std::move(when_done)) {}
    void ended(CURLcode code) override { client.finished(*this, code); }
    // Whether what came answers the request, however the rest of it went.
    bool answered() const noexcept { return beginning_suffices && headers_complete; }

    HttpClient& client;
    const TransferId id;
    CurlEasy easy;
    CurlList headers;
    std::string body;  // of the request; curl reads it in place
    HttpResponse response{};
    std::size_t body_limit = 0;
    std::size_t header_bytes = 0;
    bool beginning_suffices = false;
    bool interim = false;  // what is being read is a 1xx reply
    bool headers_complete = false;
    bool too_large = false;
    bool blocked = false;
    Done done;
};

HttpClient::HttpClient(EventLoop& loop, const AddressPolicy& policy, HttpSettings settings)
    : loop_(loop), policy_(policy), settings_(std::move(settings)) {}

HttpClient::~HttpClient() {
    for (const auto& [id, transfer] : transfers_) {
        loop_.abort_transfer(transfer->easy.get());
    }
}

HttpClient::TransferId HttpClient::start(const ApiRequest& request, Done done) {
    auto owned = std::make_unique<Transfer>(*this, next_id_++, std::move(done));
    Transfer& transfer = *owned;
    transfers_.emplace(transfer.id, std::move(owned));
    std::string fault = fault_of(request);
    if (fault.empty()) {
        try {
            transfer.easy = take_handle();
            configure(transfer, request);
            loop_.start_transfer(transfer.easy.get(), transfer);
            return transfer.id;
        } catch (const std::exception& error) {
            fault = error.what();
        }
    }
    HttpResponse refused{};
    refused.error_code = "other";
    refused.error_message = std::move(fault);
    // Not from within start: the caller has not noted the id yet.
    loop_.after(0, [this, id = transfer.id, refused = std::move(refused)] { deliver(id, refused); });
    return transfer.id;
}

void HttpClient::cancel(TransferId id) {
    const auto found = transfers_.find(id);
    if (found == transfers_.end()) {
        return;
    }
    if (found->second->easy) {
        loop_.abort_transfer(found->second->easy.get());
    }
    transfers_.erase(found);
}

CurlEasy HttpClient::take_handle() {
    if (!spare_.empty()) {
        CurlEasy easy = std::move(spare_.back());
        spare_.pop_back();
        return easy;
    }
    CurlEasy easy(curl_easy_init());
    if (!easy) {
        throw std::bad_alloc();
    }
    return easy;
}

void HttpClient::configure(Transfer& transfer, const ApiRequest& request) {
    CURL* const easy = transfer.easy.get();
    curl_easy_reset(easy);
    transfer.body = request.body;
    transfer.body_limit = request.max_body_bytes == 0
                              ? settings_.max_body_bytes
                              : std::min(request.max_body_bytes, settings_.max_body_bytes);
    transfer.beginning_suffices = request.beginning_suffices;
    set_option(easy, CURLOPT_URL, request.url.c_str());
    set_option(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    set_option(easy, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
    set_option(easy, CURLOPT_FOLLOWLOCATION, 0L);
    set_option(easy, CURLOPT_PROXY,
               "");  // else http_proxy in the environment would take the request elsewhere
    set_option(easy, CURLOPT_NETRC, static_cast<long>(CURL_NETRC_IGNORED));
    set_option(easy, CURLOPT_NOSIGNAL, 1L);
    set_option(easy, CURLOPT_BUFFERSIZE, kBufferBytes);
    set_option(easy, CURLOPT_UPLOAD_BUFFERSIZE, kBufferBytes);
    set_option(easy, CURLOPT_QUICK_EXIT, 1L);
    set_option(easy, CURLOPT_TIMEOUT_MS, request.timeout_ms > 0 ? request.timeout_ms : kDefaultTimeoutMs);
    set_option(easy, CURLOPT_CONNECTTIMEOUT_MS,
               request.connect_timeout_ms > 0 ? request.connect_timeout_ms : kDefaultConnectTimeoutMs);
    if (!transfer.beginning_suffices) {
        set_option(easy, CURLOPT_MAXFILESIZE_LARGE, static_cast<curl_off_t>(transfer.body_limit));
        set_option(easy, CURLOPT_ACCEPT_ENCODING, "");
    }
    if (settings_.fresh_connections) {
        set_option(easy, CURLOPT_FRESH_CONNECT, 1L);
        set_option(easy, CURLOPT_FORBID_REUSE, 1L);
        // Of HTTP/2 another request could join the connection while it lasts.
        set_option(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
    }
    set_option(easy, CURLOPT_USERAGENT, settings_.user_agent.c_str());
    if (!settings_.ca_file.empty()) {
        set_option(easy, CURLOPT_CAINFO, settings_.ca_file.c_str());
    }
    set_option(easy, CURLOPT_OPENSOCKETFUNCTION, &HttpClient::open_socket);
    set_option(easy, CURLOPT_OPENSOCKETDATA, static_cast<void*>(&transfer));
    set_option(easy, CURLOPT_WRITEFUNCTION, &HttpClient::on_body);
    set_option(easy, CURLOPT_WRITEDATA, static_cast<void*>(&transfer));
    set_option(easy, CURLOPT_HEADERFUNCTION, &HttpClient::on_header);
    set_option(easy, CURLOPT_HEADERDATA, static_cast<void*>(&transfer));

    CurlList headers = append(nullptr, "Expect:");
    for (const auto& [name, value] : request.headers) {
        // A header without a value is written with ';', or curl would leave it out.
        headers = append(std::move(headers), value.empty() ? name + ";" : name + ": " + value);
    }
    transfer.headers = std::move(headers);
    set_option(easy, CURLOPT_HTTPHEADER, transfer.headers.get());
    if (!transfer.body.empty() || request.method == "POST" || request.method == "PUT" ||
        request.method == "PATCH") {
        set_option(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(transfer.body.size()));
        set_option(easy, CURLOPT_POSTFIELDS, static_cast<const void*>(transfer.body.c_str()));
    }
    if (request.method == "HEAD") {
        set_option(easy, CURLOPT_NOBODY, 1L);
    } else {
        set_option(easy, CURLOPT_CUSTOMREQUEST, request.method.c_str());
    }
}

curl_socket_t HttpClient::open_socket(void* self, curlsocktype purpose, curl_sockaddr* address) noexcept {
    auto* transfer = static_cast<Transfer*>(self);
    if (purpose != CURLSOCKTYPE_IPCXN ||
        !transfer->client.policy_.permits(&address->addr, address->addrlen)) {
        transfer->blocked = true;
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

std::size_t HttpClient::on_body(char* data, std::size_t size, std::size_t count, void* self) noexcept {
    auto* transfer = static_cast<Transfer*>(self);
    const std::size_t bytes = size * count;
    const std::size_t room = transfer->body_limit - transfer->response.body.size();
    try {
        if (bytes <= room) {
            transfer->response.body.append(data, bytes);
            return bytes;
        }
        if (transfer->beginning_suffices) {
            transfer->response.body.append(data, room);
        }
    } catch (...) {
        // As good as too large.
    }
    transfer->too_large = true;
    return 0;
}

// False when the reply's headers are too long.
bool HttpClient::take_header(Transfer& transfer, std::string_view line) {
    transfer.header_bytes += line.size();
    if (transfer.header_bytes > kMaxHeaderBytes) {
        transfer.too_large = true;
        return false;
    }
    const std::size_t colon = line.find(':');
    if (line.starts_with("HTTP/")) {
        const std::size_t status = line.find(' ');
        transfer.interim = status != std::string_view::npos && line.substr(status + 1).starts_with('1');
        transfer.response.headers.clear();  // those of an interim reply
    } else if (colon != std::string_view::npos) {
        transfer.response.headers.emplace_back(trimmed(line.substr(0, colon), kBlanks),
                                               trimmed(line.substr(colon + 1), kBlanks));
    } else if (trimmed(line, kBlanks).empty() && !transfer.interim && !transfer.headers_complete) {
        transfer.headers_complete = true;
        if (transfer.beginning_suffices) {
            transfer.client.loop_.after(
                kBeginningSeconds, [client = &transfer.client, id = transfer.id] { client->settle(id); });
        }
    }
    return true;
}

std::size_t HttpClient::on_header(char* data, std::size_t size, std::size_t count, void* self) noexcept {
    try {
        return take_header(*static_cast<Transfer*>(self), {data, size * count}) ? size * count : 0;
    } catch (...) {
        return 0;
    }
}

// Ends a transfer that is answered although its body goes on.
void HttpClient::settle(TransferId id) {
    if (const auto found = transfers_.find(id); found != transfers_.end()) {
        loop_.abort_transfer(found->second->easy.get());
        finished(*found->second, CURLE_OK);
    }
}

void HttpClient::finished(Transfer& transfer, CURLcode code) {
    HttpResponse response = std::move(transfer.response);
    curl_easy_getinfo(transfer.easy.get(), CURLINFO_RESPONSE_CODE, &response.status);
    const auto fail = [&](std::string_view error_code, std::string_view message) {
        response.error_code = error_code;
        response.error_message = message;
        response.body.clear();
    };
    switch (transfer.answered() ? CURLE_OK : code) {
        case CURLE_OK:
            break;
        case CURLE_OPERATION_TIMEDOUT:
            fail("timeout", "the request took too long");
            break;
        case CURLE_COULDNT_CONNECT:
        case CURLE_COULDNT_RESOLVE_HOST:
            fail(transfer.blocked ? "blocked_address" : "connect", kNoConnection);
            break;
        case CURLE_SSL_CONNECT_ERROR:
        case CURLE_PEER_FAILED_VERIFICATION:
        case CURLE_SSL_CERTPROBLEM:
        case CURLE_SSL_CIPHER:
        case CURLE_SSL_CACERT_BADFILE:
        case CURLE_SSL_ISSUER_ERROR:
        case CURLE_SSL_INVALIDCERTSTATUS:
            fail("tls", curl_easy_strerror(code));
            break;
        default:
            if (transfer.too_large || code == CURLE_FILESIZE_EXCEEDED) {
                fail("body_too_large",
                     "the reply is longer than " + std::to_string(transfer.body_limit) + " bytes");
            } else {
                fail("other", curl_easy_strerror(code));
            }
    }
    deliver(transfer.id, std::move(response));
}

void HttpClient::deliver(TransferId id, HttpResponse response) {
    const auto found = transfers_.find(id);
    if (found == transfers_.end()) {
        return;
    }
    const std::unique_ptr<Transfer> transfer = std::move(found->second);
    transfers_.erase(found);
    if (transfer->easy && spare_.size() < kMaxSpareHandles) {
        curl_easy_reset(transfer->easy.get());  // forgets the pointers into this transfer
        spare_.push_back(std::move(transfer->easy));
    }
    transfer->done(std::move(response));
}

}  // namespace sync_engine

#include "executor/smtp_client.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <string_view>
#include <utility>

#include "core/url.hpp"
#include "notify/mail_mime.hpp"
#include "notify/smtp_dialogue.hpp"

namespace sync_engine {

namespace {

// A delivery has to end within 60 s.
constexpr double kTimeoutSeconds = 55;
// Until the server lets us in: some greet late on purpose.
constexpr long kConnectTimeoutMs = 30'000;
constexpr std::size_t kReadBytes = 4096;

// What the operator has to put right.
class Misconfigured : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

std::string_view error_code_of(CURLcode code) {
    switch (code) {
        case CURLE_OPERATION_TIMEDOUT:
            return "timeout";
        case CURLE_COULDNT_CONNECT:
        case CURLE_COULDNT_RESOLVE_HOST:
        case CURLE_GOT_NOTHING:
        case CURLE_RECV_ERROR:
        case CURLE_SEND_ERROR:
            return "connect";
        case CURLE_LOGIN_DENIED:  // nothing was tried, for the server offers nothing that could be
            return "config";
        case CURLE_USE_SSL_FAILED:
        case CURLE_SSL_CONNECT_ERROR:
        case CURLE_PEER_FAILED_VERIFICATION:
        case CURLE_SSL_CERTPROBLEM:
        case CURLE_SSL_CIPHER:
        case CURLE_SSL_CACERT_BADFILE:
        case CURLE_SSL_ISSUER_ERROR:
        case CURLE_SSL_INVALIDCERTSTATUS:
            return "tls";
        default:
            return "other";
    }
}

}  // namespace

std::string_view smtp_url_fault(std::string_view url) {
    constexpr std::string_view kFault = "must be smtp://host:port or smtps://host:port";
    const std::size_t end = url.find("://");
    if (end == std::string_view::npos || (url.substr(0, end) != "smtp" && url.substr(0, end) != "smtps")) {
        return kFault;
    }
    const auto parsed = parse_url("http" + std::string(url.substr(end)));
    if (!parsed) {
        return kFault;
    }
    const bool is_name = std::all_of(parsed->target.begin() + 1, parsed->target.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
               c == '.';
    });
    return is_name && url.find('#') == std::string_view::npos
               ? std::string_view()
               : "may hold after host and port nothing but a host name for EHLO";
}

// First curl's, then a descriptor of the loop.
struct SmtpClient::Transfer : CurlTransfer, FdSource {
    Transfer(SmtpClient& its_client, TransferId its_id, const MailMessage& mail, Done when_done)
        : client(its_client),
          id(its_id),
          share(curl_share_init()),
          dialogue(mail.sender, mail.recipient, mime_mail(mail)),
          deadline(its_client.loop_),
          done(std::move(when_done)) {}
    Transfer(const Transfer&) = delete;
    Transfer& operator=(const Transfer&) = delete;
    ~Transfer() override {
        if (talking) {
            client.loop_.remove(*this);
        }
        client.loop_.abort_transfer(easy.get());
    }

    void ended(CURLcode code) override { client.connected(*this, code); }
    bool stays(CURLcode code) const noexcept override { return code == CURLE_OK; }
    int fd() const noexcept override { return socket; }
    bool wants_read() const noexcept override { return true; }
    bool wants_write() const noexcept override { return !output.empty(); }
    void on_ready(bool, bool) override { client.converse(*this); }

    SmtpClient& client;
    const TransferId id;
    // Holds the connection: in the cache that all share, curl would close it as dead if it looked for dead
    // ones while a reply waits to be read. Outlives the handle.
    CurlShare share;
    CurlEasy easy;
    curl_socket_t socket = CURL_SOCKET_BAD;
    bool talking = false;
    SmtpDialogue dialogue;
    std::string output;  // not sent yet
    SmtpReplyReader greeting;
    Timer deadline;
    Done done;
};

SmtpClient::SmtpClient(EventLoop& loop, SmtpSettings settings)
    : loop_(loop), settings_(std::move(settings)) {}

SmtpClient::~SmtpClient() = default;

SmtpClient::TransferId SmtpClient::start(const MailMessage& mail, Done done) {
    auto owned = std::make_unique<Transfer>(*this, next_id_++, mail, std::move(done));
    Transfer& transfer = *owned;
    transfers_.emplace(transfer.id, std::move(owned));
    try {
        configure(transfer);
        loop_.start_transfer(transfer.easy.get(), transfer);
        transfer.deadline.set_after(kTimeoutSeconds, [this, &transfer] { time_out(transfer); });
    } catch (const std::exception& error) {
        SmtpReply failed;
        failed.error_code = dynamic_cast<const Misconfigured*>(&error) != nullptr ? "config" : "other";
        failed.error = error.what();
        // Not from within start: the caller has not noted the id yet.
        loop_.after(0, [this, id = transfer.id, failed = std::move(failed)] { deliver(id, failed); });
    }
    return transfer.id;
}

void SmtpClient::cancel(TransferId id) {
    transfers_.erase(id);
}

void SmtpClient::authenticate(CURL* easy) const {
    if (settings_.user.empty()) {
        return;
    }
    const auto password = settings_.password ? settings_.password() : std::nullopt;
    if (!password) {
        throw Misconfigured("there is no password for the mail server");
    }
    set_option(easy, CURLOPT_USERNAME, settings_.user.c_str());
    set_option(easy, CURLOPT_PASSWORD, password->c_str());
}

void SmtpClient::configure(Transfer& transfer) {
    transfer.easy.reset(curl_easy_init());
    CURL* const easy = transfer.easy.get();
    if (easy == nullptr || !transfer.share) {
        throw std::bad_alloc();
    }
    if (curl_share_setopt(transfer.share.get(), CURLSHOPT_SHARE, CURL_LOCK_DATA_CONNECT) != CURLSHE_OK) {
        throw std::runtime_error("libcurl cannot keep a connection apart");
    }
    set_option(easy, CURLOPT_SHARE, transfer.share.get());
    set_option(easy, CURLOPT_CONNECT_ONLY, 1L);
    set_option(easy, CURLOPT_URL, settings_.url.c_str());
    set_option(easy, CURLOPT_PROTOCOLS_STR, "smtp,smtps");
    set_option(easy, CURLOPT_USE_SSL,
               static_cast<long>(settings_.tls == SmtpTls::required        ? CURLUSESSL_ALL
                                 : settings_.tls == SmtpTls::opportunistic ? CURLUSESSL_TRY
                                                                           : CURLUSESSL_NONE));
    set_option(easy, CURLOPT_PROXY, "");
    set_option(easy, CURLOPT_NETRC, static_cast<long>(CURL_NETRC_IGNORED));
    set_option(easy, CURLOPT_NOSIGNAL, 1L);
    set_option(easy, CURLOPT_QUICK_EXIT, 1L);
    set_option(easy, CURLOPT_CONNECTTIMEOUT_MS, kConnectTimeoutMs);
    if (!settings_.ca_file.empty()) {
        set_option(easy, CURLOPT_CAINFO, settings_.ca_file.c_str());
    }
    authenticate(easy);
    set_option(easy, CURLOPT_HEADERFUNCTION, &SmtpClient::on_reply_line);
    set_option(easy, CURLOPT_HEADERDATA, static_cast<void*>(&transfer));
    set_option(easy, CURLOPT_WRITEFUNCTION, &SmtpClient::on_body);
}

// While curl has the connection the server's replies come as headers.
std::size_t SmtpClient::on_reply_line(char* data, std::size_t size, std::size_t count, void* self) noexcept {
    try {
        auto& reader = static_cast<Transfer*>(self)->greeting;
        reader.add({data, size * count});
        while (reader.next()) {
        }
    } catch (...) {
        return 0;
    }
    return size * count;
}

// Nothing is to be read; without it curl would write to standard output.
std::size_t SmtpClient::on_body(char*, std::size_t size, std::size_t count, void*) noexcept {
    return size * count;
}

// The server has let us in, or has not.
void SmtpClient::connected(Transfer& transfer, CURLcode code) {
    CURL* const easy = transfer.easy.get();
    if (code == CURLE_OK && curl_easy_getinfo(easy, CURLINFO_ACTIVESOCKET, &transfer.socket) == CURLE_OK &&
        transfer.socket != CURL_SOCKET_BAD) {
        transfer.talking = true;
        loop_.add(transfer);
        transfer.output = transfer.dialogue.begin();
        converse(transfer);
        return;
    }
    SmtpReply reply;
    reply.stage = code == CURLE_LOGIN_DENIED ? SmtpStage::authentication : SmtpStage::greeting;
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &reply.code);
    reply.text = transfer.greeting.text();
    const std::string_view error_code = error_code_of(code);
    const bool by_reply = error_code != "timeout" && error_code != "tls";
    if (!by_reply || reply.code < 400 || reply.code > 599) {
        reply.code = 0;
        reply.error_code = error_code;
        reply.error = code == CURLE_USE_SSL_FAILED ? "the mail server offers no STARTTLS; see --smtp-tls"
                                                   : curl_easy_strerror(code);
    }
    deliver(transfer.id, std::move(reply));
}

// Sends and reads as far as that goes without waiting. The transfer may be gone afterwards.
void SmtpClient::converse(Transfer& transfer) {
    CURL* const easy = transfer.easy.get();
    std::array<char, kReadBytes> buffer{};
    CURLcode code = CURLE_OK;
    while (code == CURLE_OK) {
        std::size_t bytes = 0;
        if (!transfer.output.empty()) {
            code = curl_easy_send(easy, transfer.output.data(), transfer.output.size(), &bytes);
            transfer.output.erase(0, code == CURLE_OK ? bytes : 0);
            if (transfer.dialogue.over()) {
                deliver(transfer.id,
                        transfer.dialogue.reply());  // a farewell that does not go out is no loss
                return;
            }
            continue;
        }
        code = curl_easy_recv(easy, buffer.data(), buffer.size(), &bytes);
        if (code == CURLE_OK && bytes == 0) {
            code = CURLE_GOT_NOTHING;
        }
        if (code == CURLE_OK) {
            transfer.output = transfer.dialogue.answer({buffer.data(), bytes});
        }
    }
    if (code != CURLE_AGAIN) {
        SmtpReply reply;
        reply.stage = transfer.dialogue.reply().stage;
        reply.error_code = "connect";
        reply.error = "the mail server broke off the connection";
        deliver(transfer.id, std::move(reply));
    }
}

void SmtpClient::time_out(Transfer& transfer) {
    SmtpReply reply;
    reply.stage = transfer.dialogue.reply().stage;
    reply.error_code = "timeout";
    reply.error = "the mail server took too long";
    deliver(transfer.id, std::move(reply));
}

void SmtpClient::deliver(TransferId id, SmtpReply reply) {
    const auto found = transfers_.find(id);
    if (found == transfers_.end()) {
        return;
    }
    const std::unique_ptr<Transfer> transfer = std::move(found->second);
    transfers_.erase(found);
    transfer->done(std::move(reply));
}

}  // namespace sync_engine

#include "executor/smtp_client.hpp"

#include <algorithm>
#include <deque>
#include <stdexcept>
#include <string_view>
#include <utility>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/url.hpp"

namespace sync_engine {

namespace {

// A delivery has to end within 60 s.
constexpr long kTimeoutMs = 55'000;
constexpr long kConnectTimeoutMs = 30'000;  // until the server lets mails in: some greet late on purpose
constexpr std::size_t kMaxReplyLine = 2048;

// What the operator has to put right.
class Misconfigured : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

struct MimeDeleter {
    void operator()(curl_mime* mime) const noexcept { curl_mime_free(mime); }
};
using CurlMime = std::unique_ptr<curl_mime, MimeDeleter>;

void require(CURLcode code) {
    if (code != CURLE_OK) {
        throw std::runtime_error(std::string("libcurl cannot build the mail: ") + curl_easy_strerror(code));
    }
}

void add_part(curl_mime* mime, const char* type, const std::string& text) {
    curl_mimepart* const part = curl_mime_addpart(mime);
    if (part == nullptr) {
        throw std::bad_alloc();
    }
    require(curl_mime_data(part, text.data(), text.size()));
    require(curl_mime_type(part, type));
    require(curl_mime_encoder(part, "quoted-printable"));
}

// Plain text first: readers show the last part they can.
CurlMime alternatives(CURL* easy, const MailMessage& mail) {
    CurlMime mime(curl_mime_init(easy));
    if (!mime) {
        throw std::bad_alloc();
    }
    add_part(mime.get(), "text/plain; charset=utf-8", mail.text);
    add_part(mime.get(), "text/html; charset=utf-8", mail.html);
    return mime;
}

bool is_reply_code(std::string_view line) {
    return line.size() >= 3 &&
           std::all_of(line.begin(), line.begin() + 3, [](char c) { return c >= '0' && c <= '9'; });
}

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

struct SmtpClient::Transfer : CurlTransfer {
    Transfer(SmtpClient& its_client, TransferId its_id, Done when_done)
        : client(its_client), id(its_id), done(std::move(when_done)) {}
    void ended(CURLcode code) override { client.finished(*this, code); }
    void sent(std::string_view command);

    SmtpClient& client;
    const TransferId id;
    CurlMime mime;
    CurlList headers;
    CurlList recipients;
    CurlEasy easy;  // the first to go: it points to the others
    SmtpStage stage = SmtpStage::greeting;
    std::deque<OwnedFd> sockets;  // duplicates of curl's, so that none of them can come to mean another
    bool quitting = false;        // what the server says from now on is not about the mail
    std::string line;
    std::string last_reply;
    Done done;
};

// Told of each command that went out.
void SmtpClient::Transfer::sent(std::string_view command) {
    if (command.starts_with("AUTH ")) {
        stage = SmtpStage::authentication;
    } else if (command.starts_with("MAIL ")) {
        stage = SmtpStage::sender;
    } else if (command.starts_with("RCPT ") || command.starts_with("DATA")) {
        stage = SmtpStage::message;
    } else if (command.starts_with("QUIT")) {
        quitting = true;
        // curl would wait for the answer, and the whole process with it, for two minutes if the server is
        // silent.
        for (const OwnedFd& socket : sockets) {
            shutdown(socket.get(), SHUT_RDWR);
        }
    }
}

SmtpClient::SmtpClient(EventLoop& loop, SmtpSettings settings)
    : loop_(loop), settings_(std::move(settings)) {}

SmtpClient::~SmtpClient() {
    for (const auto& [id, transfer] : transfers_) {
        loop_.abort_transfer(transfer->easy.get());
    }
}

SmtpClient::TransferId SmtpClient::start(const MailMessage& mail, Done done) {
    auto owned = std::make_unique<Transfer>(*this, next_id_++, std::move(done));
    Transfer& transfer = *owned;
    transfers_.emplace(transfer.id, std::move(owned));
    try {
        configure(transfer, mail);
        loop_.start_transfer(transfer.easy.get(), transfer);
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
    const auto found = transfers_.find(id);
    if (found != transfers_.end()) {
        loop_.abort_transfer(found->second->easy.get());
        transfers_.erase(found);
    }
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

void SmtpClient::configure(Transfer& transfer, const MailMessage& mail) {
    transfer.easy.reset(curl_easy_init());
    CURL* const easy = transfer.easy.get();
    if (easy == nullptr) {
        throw std::bad_alloc();
    }
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
    set_option(easy, CURLOPT_TIMEOUT_MS, kTimeoutMs);
    set_option(easy, CURLOPT_CONNECTTIMEOUT_MS, kConnectTimeoutMs);
    if (!settings_.ca_file.empty()) {
        set_option(easy, CURLOPT_CAINFO, settings_.ca_file.c_str());
    }
    authenticate(easy);
    set_option(easy, CURLOPT_HEADERFUNCTION, &SmtpClient::on_reply_line);
    set_option(easy, CURLOPT_HEADERDATA, static_cast<void*>(&transfer));
    set_option(easy, CURLOPT_WRITEFUNCTION, &SmtpClient::on_body);
    set_option(easy, CURLOPT_OPENSOCKETFUNCTION, &SmtpClient::open_socket);
    set_option(easy, CURLOPT_OPENSOCKETDATA, static_cast<void*>(&transfer));
    set_option(easy, CURLOPT_DEBUGFUNCTION, &SmtpClient::on_debug);
    set_option(easy, CURLOPT_DEBUGDATA, static_cast<void*>(&transfer));
    set_option(easy, CURLOPT_VERBOSE, 1L);
    // A connection that is kept is closed by whatever transfer comes later, which knows nothing of QUIT.
    set_option(easy, CURLOPT_FRESH_CONNECT, 1L);
    set_option(easy, CURLOPT_FORBID_REUSE, 1L);

    set_option(easy, CURLOPT_MAIL_FROM, mail.sender.c_str());
    transfer.recipients = append(nullptr, mail.recipient);
    set_option(easy, CURLOPT_MAIL_RCPT, transfer.recipients.get());
    CurlList headers;
    for (const std::string& header : mail.headers) {
        headers = append(std::move(headers), header);
    }
    // curl adds the boundary.
    transfer.headers = append(std::move(headers), "Content-Type: multipart/alternative");
    set_option(easy, CURLOPT_HTTPHEADER, transfer.headers.get());
    transfer.mime = alternatives(easy, mail);
    set_option(easy, CURLOPT_MIMEPOST, transfer.mime.get());
}

// The server's replies come as headers, in pieces of any size; of each the last line counts ("250 OK", not
// "250-OK").
std::size_t SmtpClient::on_reply_line(char* data, std::size_t size, std::size_t count, void* self) noexcept {
    auto* transfer = static_cast<Transfer*>(self);
    try {
        for (const char c : std::string_view(data, size * count)) {
            if (c != '\n') {
                transfer->line += transfer->line.size() < kMaxReplyLine ? std::string_view(&c, 1) : "";
                continue;
            }
            const std::string& line = transfer->line;
            if (!transfer->quitting && is_reply_code(line) && (line.size() == 3 || line[3] != '-')) {
                transfer->last_reply = line.substr(0, line.find('\r'));
            }
            transfer->line.clear();
        }
    } catch (...) {
        return 0;
    }
    return size * count;
}

curl_socket_t SmtpClient::open_socket(void* self, curlsocktype, curl_sockaddr* address) noexcept {
    const int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    try {
        static_cast<Transfer*>(self)->sockets.emplace_back(fcntl(fd, F_DUPFD_CLOEXEC, 0));
    } catch (...) {
        close(fd);
        return CURL_SOCKET_BAD;
    }
    return fd;
}

int SmtpClient::on_debug(CURL*, curl_infotype type, char* data, std::size_t size, void* self) noexcept {
    if (type == CURLINFO_HEADER_OUT) {
        static_cast<Transfer*>(self)->sent({data, size});
    }
    return 0;
}

// Nothing is to be read; without it curl would write to standard output.
std::size_t SmtpClient::on_body(char*, std::size_t size, std::size_t count, void*) noexcept {
    return size * count;
}

void SmtpClient::finished(Transfer& transfer, CURLcode code) {
    SmtpReply reply;
    curl_easy_getinfo(transfer.easy.get(), CURLINFO_RESPONSE_CODE, &reply.code);
    reply.text = std::move(transfer.last_reply);
    reply.accepted = code == CURLE_OK;
    reply.stage = transfer.stage;
    const std::string_view error_code = error_code_of(code);
    const bool answered =
        reply.code >= 400 && reply.code <= 599 && error_code != "timeout" && error_code != "tls";
    if (!reply.accepted && !answered) {
        reply.code = 0;
        reply.error_code = error_code;
        reply.error = code == CURLE_USE_SSL_FAILED ? "the mail server offers no STARTTLS; see --smtp-tls"
                                                   : curl_easy_strerror(code);
    }
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

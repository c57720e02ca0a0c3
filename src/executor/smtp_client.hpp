#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

#include "executor/curl_handles.hpp"
#include "executor/event_loop.hpp"
#include "notify/mail_message.hpp"
#include "notify/smtp_reply.hpp"

namespace sync_engine {

enum class SmtpTls {
    required,       // STARTTLS, or no mail is sent
    opportunistic,  // STARTTLS where the server offers it
    off,
};

struct SmtpSettings {
    std::string url;  // smtp://host:port or smtps://host:port, as smtp_url_fault accepts it; empty: no mail
    SmtpTls tls = SmtpTls::required;  // smtps is TLS from the first byte, whatever this says
    std::string user;                 // empty: no authentication
    // Asked for each mail, so that a rotated password is taken up; nothing where there is none. May be empty.
    std::function<std::optional<std::string>()> password;
    std::string ca_file;  // empty: the system's
};

// Why the URL cannot be used; empty when it can. A path is the name for EHLO; user information is refused.
std::string_view smtp_url_fault(std::string_view url);

// Any number of mails at once, each over a connection of its own, of at most 55 s. The server is the
// operator's own choice, made on the command line or in its like and not by tenants, so that the address
// policy does not apply to it.
//
// curl connects, negotiates TLS and authenticates; the mail itself is handed over here. curl's own way of
// doing that waits for the server's last word, and for its answer to QUIT, in a call that returns only then:
// minutes in which the process would do nothing else.
class SmtpClient {
  public:
    using Done = std::function<void(SmtpReply&&)>;
    using TransferId = std::uint64_t;  // never 0

    // Borrows the loop.
    SmtpClient(EventLoop& loop, SmtpSettings settings);
    ~SmtpClient();
    SmtpClient(const SmtpClient&) = delete;
    SmtpClient& operator=(const SmtpClient&) = delete;

    // `done` is called once, later, from the event loop; not after cancel().
    TransferId start(const MailMessage& mail, Done done);

    // Of a transfer that has ended: no effect. The server may have taken the mail already.
    void cancel(TransferId id);

  private:
    struct Transfer;

    void configure(Transfer& transfer);
    void authenticate(CURL* easy) const;
    void connected(Transfer& transfer, CURLcode code);
    void converse(Transfer& transfer);
    void time_out(Transfer& transfer);
    void deliver(TransferId id, SmtpReply reply);
    static std::size_t on_reply_line(char* data, std::size_t size, std::size_t count,
                                     void* transfer) noexcept;
    static std::size_t on_body(char* data, std::size_t size, std::size_t count, void* transfer) noexcept;

    EventLoop& loop_;
    SmtpSettings settings_;
    TransferId next_id_ = 1;
    std::unordered_map<TransferId, std::unique_ptr<Transfer>> transfers_;
};

}  // namespace sync_engine

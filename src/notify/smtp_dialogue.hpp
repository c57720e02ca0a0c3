#pragma once

#include <string>
#include <string_view>

#include "notify/smtp_reply.hpp"

namespace sync_engine {

// The server's replies in what is read from it, in pieces of any size.
class SmtpReplyReader {
  public:
    // Takes the next reply off what was read. False when there is none yet; reply_code() is 0 when what came
    // is no reply of SMTP.
    bool next();
    void add(std::string_view received) { pending_.append(received); }

    long code() const noexcept { return code_; }
    // Its last line.
    const std::string& text() const noexcept { return text_; }

  private:
    std::string pending_;
    long code_ = 0;
    std::string text_;
};

// What is said to an SMTP server once it has let us in (RFC 5321): one mail to one recipient. Does no I/O.
class SmtpDialogue {
  public:
    // Addresses as email_fault accepts them; `mail` as mime_mail writes it.
    SmtpDialogue(std::string sender, std::string recipient, std::string mail);

    // What to send first.
    std::string begin() const;
    // Takes what the server said; what to send then, empty while there is more to be read. What is returned
    // once over() is a farewell, whose answer nobody needs.
    std::string answer(std::string_view received);

    bool over() const noexcept { return step_ == Step::over; }
    // How far it got, and once over() how it ended.
    const SmtpReply& reply() const noexcept { return reply_; }

  private:
    enum class Step { sender, recipient, data, message, over };

    std::string advance();
    std::string end(bool accepted);

    std::string sender_;
    std::string recipient_;
    std::string mail_;
    Step step_ = Step::sender;
    SmtpReplyReader reader_;
    SmtpReply reply_;
};

}  // namespace sync_engine

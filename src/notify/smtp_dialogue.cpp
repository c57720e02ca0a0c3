#include "notify/smtp_dialogue.hpp"

#include <algorithm>
#include <utility>

namespace sync_engine {
namespace {

// RFC 5321 allows 512; nothing longer is kept, and a server that never ends its line is not read for ever.
constexpr std::size_t kMaxReplyLine = 2048;

bool is_reply_code(std::string_view line) {
    return line.size() >= 3 && line[0] >= '2' && line[0] <= '5' && line[1] >= '0' && line[1] <= '9' &&
           line[2] >= '0' && line[2] <= '9';
}

// A line that begins with a dot gets another, or the server would take it for the end.
std::string dot_stuffed(std::string_view mail) {
    std::string out;
    out.reserve(mail.size() + 64);
    bool line_begins = true;
    for (const char c : mail) {
        out += line_begins && c == '.' ? "." : "";
        out += c;
        line_begins = c == '\n';
    }
    return out;
}

}  // namespace

bool SmtpReplyReader::next() {
    while (true) {
        const std::size_t end = pending_.find('\n');
        if (end == std::string::npos && pending_.size() <= kMaxReplyLine) {
            return false;
        }
        std::string line = pending_.substr(0, std::min(end, kMaxReplyLine));
        pending_.erase(0, end == std::string::npos ? end : end + 1);
        line.erase(std::find(line.begin(), line.end(), '\r'), line.end());
        const bool good = is_reply_code(line) && end != std::string::npos;
        if (good && line.size() > 3 && line[3] == '-') {
            continue;  // the reply goes on
        }
        code_ = good ? (line[0] - '0') * 100 + (line[1] - '0') * 10 + (line[2] - '0') : 0;
        text_ = std::move(line);
        return true;
    }
}

SmtpDialogue::SmtpDialogue(std::string sender, std::string recipient, std::string mail)
    : sender_(std::move(sender)), recipient_(std::move(recipient)), mail_(std::move(mail)) {
    reply_.stage = SmtpStage::sender;
}

std::string SmtpDialogue::begin() const {
    return "MAIL FROM:<" + sender_ + ">\r\n";
}

std::string SmtpDialogue::answer(std::string_view received) {
    reader_.add(received);
    // Nobody speaks out of turn: there is one reply to each command.
    return !over() && reader_.next() ? advance() : "";
}

std::string SmtpDialogue::advance() {
    reply_.code = reader_.code();
    reply_.text = reader_.text();
    const bool agreed = reply_.code >= 200 && reply_.code < 300;
    switch (step_) {
        case Step::sender:
            if (agreed) {
                reply_.stage = SmtpStage::message;
                step_ = Step::recipient;
                return "RCPT TO:<" + recipient_ + ">\r\n";
            }
            break;
        case Step::recipient:
            if (agreed) {
                step_ = Step::data;
                return "DATA\r\n";
            }
            break;
        case Step::data:
            if (reply_.code >= 300 && reply_.code < 400) {
                step_ = Step::message;
                return dot_stuffed(std::exchange(mail_, {})) + ".\r\n";
            }
            break;
        case Step::message:
            if (agreed) {
                return end(true);
            }
            break;
        case Step::over:
            break;
    }
    return end(false);
}

std::string SmtpDialogue::end(bool accepted) {
    step_ = Step::over;
    reply_.accepted = accepted;
    if (!accepted && reply_.code < 400) {
        reply_.code = 0;
        reply_.error_code = "other";
        reply_.error = "the mail server does not speak SMTP";
    }
    return "QUIT\r\n";
}

}  // namespace sync_engine

#include "notify/mail_message.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <utility>

#include "core/email_address.hpp"
#include "core/url.hpp"
#include "notify/mail_content.hpp"
#include "notify/mail_html.hpp"
#include "notify/mail_text.hpp"

namespace sync_engine {
namespace {

constexpr std::string_view kTokenPlace = "{token}";
constexpr std::size_t kMaxTokenBytes = 200;
// With the token and the header's name within the 998 octets of a line.
constexpr std::size_t kMaxUrlBytes = 700;

bool is_alphanumeric(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool is_token(std::string_view text, std::string_view marks, std::size_t max_bytes) {
    return !text.empty() && text.size() <= max_bytes &&
           std::all_of(text.begin(), text.end(), [marks](char c) {
               return is_alphanumeric(c) || marks.find(c) != std::string_view::npos;
           });
}

std::string with_token(std::string_view url, std::string_view token) {
    std::string out(url);
    return out.replace(out.find(kTokenPlace), kTokenPlace.size(), token);
}

// What of an address means something in a mailto URL (RFC 6068) is escaped.
std::string mailto_address(std::string_view address) {
    std::string out;
    for (const char c : address) {
        if (is_alphanumeric(c) || std::string_view("@.-_+!$'*").find(c) != std::string_view::npos) {
            out += c;
            continue;
        }
        std::array<char, 8> escaped{};
        std::snprintf(escaped.data(), escaped.size(), "%%%02X", static_cast<unsigned>(c));
        out += escaped.data();
    }
    return out;
}

void add_unsubscribe(std::vector<std::string>& headers, const std::string& token,
                     const MailSettings& settings) {
    if (!is_token(token, "._-", kMaxTokenBytes)) {
        return;
    }
    const bool by_url = !settings.unsubscribe_url.empty();
    const std::string target =
        by_url ? with_token(settings.unsubscribe_url, token)
               : "mailto:" + mailto_address(settings.from.address) + "?subject=unsubscribe%20" + token;
    constexpr std::string_view kName = "List-Unsubscribe:";
    // A long URL may not be broken, so it gets a line of its own.
    const bool fits = kName.size() + target.size() + 3 <= kMaxHeaderColumns;
    headers.push_back(std::string(kName) + (fits ? " <" : "\r\n <") + target + ">");
    if (by_url) {
        headers.emplace_back("List-Unsubscribe-Post: List-Unsubscribe=One-Click");
    }
}

std::string with_crlf(std::string_view text) {
    std::string out;
    out.reserve(text.size() + text.size() / 32);
    for (const char c : text) {
        out += c == '\n' ? "\r\n" : std::string_view(&c, 1);
    }
    return out;
}

}  // namespace

std::string_view unsubscribe_url_fault(std::string_view url) {
    const std::size_t place = url.find(kTokenPlace);
    if (place == std::string_view::npos || url.find(kTokenPlace, place + 1) != std::string_view::npos) {
        return "must hold {token} once";
    }
    const auto is_plain = [](char c) { return c > ' ' && c < 0x7F && c != '<' && c != '>' && c != '"'; };
    const auto one = parse_url(with_token(url, "a"));
    const auto other = parse_url(with_token(url, "b"));
    if (!one || !other || one->scheme != "https" || !std::all_of(url.begin(), url.end(), is_plain)) {
        return "must be an https URL in plain ASCII";
    }
    // Not in the host, nor in the fragment, which is never sent.
    if (one->origin() != other->origin() || one->target == other->target) {
        return "must hold {token} in its path or query";
    }
    return url.size() > kMaxUrlBytes ? "must have at most 700 characters" : "";
}

std::variant<MailMessage, DeliveryOutcome> mail_message(const Delivery& delivery,
                                                        const MailSettings& settings, TimestampUs now) {
    if (const std::string_view fault = email_fault(delivery.recipient); !fault.empty()) {
        return refused_delivery("the e-mail address " + std::string(fault));
    }
    if (!is_token(delivery.message_id, "_-", kMaxTokenBytes)) {
        return refused_delivery("the message's id has characters that Message-ID cannot carry");
    }
    MailContent content;
    std::string fault;
    if (!read_mail_content(delivery.payload, content, fault)) {
        return refused_delivery(std::move(fault));
    }
    MailMessage mail;
    mail.sender = settings.from.address;
    mail.recipient = delivery.recipient;
    mail.headers = {mailbox_header("From", settings.from),
                    mailbox_header("To", {"", delivery.recipient}),
                    text_header("Subject", content.title, kMaxSubjectCharacters),
                    "Date: " + mail_date(now),
                    "Message-ID: <" + delivery.message_id + "@" + std::string(settings.from.domain()) + ">",
                    "Auto-Submitted: auto-generated",
                    "X-Auto-Response-Suppress: All"};
    add_unsubscribe(mail.headers, delivery.unsubscribe, settings);
    mail.text = with_crlf(mail_text(content));
    mail.html = with_crlf(mail_html(content));
    return mail;
}

}  // namespace sync_engine

#include "notify/mail_mime.hpp"

namespace sync_engine {
namespace {

constexpr std::size_t kMaxColumns = 76;
// Quoted-printable text holds no "=_", so that neither body can hold it.
constexpr std::string_view kBoundary = "=_alternative";

void append_part(std::string& out, std::string_view type, std::string_view body) {
    out.append("--").append(kBoundary).append("\r\nContent-Type: ").append(type);
    out += "; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n";
    out += quoted_printable(body);
    out += "\r\n";
}

}  // namespace

std::string quoted_printable(std::string_view text) {
    constexpr std::string_view kDigits = "0123456789ABCDEF";
    std::string out;
    out.reserve(text.size() + text.size() / 8);
    std::size_t column = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text.substr(i, 2) == "\r\n") {
            out += "\r\n";
            column = 0;
            ++i;
            continue;
        }
        const auto byte = static_cast<unsigned char>(text[i]);
        // A blank at the end of a line could be lost on the way.
        const bool ends_line = i + 1 == text.size() || text.substr(i + 1, 2) == "\r\n";
        const bool plain = (byte > ' ' && byte < 0x7F && byte != '=') || (byte == ' ' && !ends_line);
        const std::size_t width = plain ? 1 : 3;
        // The last column is the soft line break's.
        if (column + width > kMaxColumns - 1) {
            out += "=\r\n";
            column = 0;
        }
        if (plain) {
            out += static_cast<char>(byte);
        } else {
            out += '=';
            out += kDigits[byte >> 4U];
            out += kDigits[byte & 15U];
        }
        column += width;
    }
    return out;
}

std::string mime_mail(const MailMessage& mail) {
    std::string out;
    for (const std::string& header : mail.headers) {
        out += header + "\r\n";
    }
    out += "MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=\"";
    out.append(kBoundary).append("\"\r\n\r\n");
    // Plain text first: readers show the last part that they can.
    append_part(out, "text/plain", mail.text);
    append_part(out, "text/html", mail.html);
    out.append("--").append(kBoundary).append("--\r\n");
    return out;
}

}  // namespace sync_engine

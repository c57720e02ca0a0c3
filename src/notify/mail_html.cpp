#include "notify/mail_html.hpp"

#include "notify/mail_text.hpp"

namespace sync_engine {
namespace {

// Rows are added up to here; what follows the last of them fits in what is left.
constexpr std::size_t kRowsUpTo = kMaxMailBytes - 80'000;

// Of the border and of what is less important: legible on white and on black.
constexpr std::string_view kBorder = "border-bottom:1px solid #9a9a9a;";
constexpr std::string_view kMuted = "color:#767676;";
constexpr std::string_view kHead =
    "padding:6px 12px 6px 0;text-align:left;vertical-align:top;min-width:64px;";
// Long words break, but no column becomes narrower than the word at its head.
constexpr std::string_view kCell =
    "padding:6px 12px 6px 0;text-align:left;vertical-align:top;overflow-wrap:anywhere;word-break:break-word;";

std::string_view bar_colour(MailTone tone) {
    switch (tone) {
        case MailTone::good:
            return "#1a7f37";
        case MailTone::bad:
            return "#b3261e";
        case MailTone::warning:
            return "#8a5a00";
        case MailTone::neutral:
            return "#475569";
    }
    return "#475569";
}

void append_escaped(std::string& out, std::string_view text) {
    for (const char c : text) {
        switch (c) {
            case '&':
                out += "&amp;";
                break;
            case '<':
                out += "&lt;";
                break;
            case '>':
                out += "&gt;";
                break;
            case '"':
                out += "&quot;";
                break;
            case '\'':
                out += "&#39;";
                break;
            case '\n':
                out += "<br>\n";
                break;
            default:
                out += c;
        }
    }
}

// `text` in an element whose direction is its own: text from right to left does not turn what surrounds it.
void append_element(std::string& out, std::string_view tag, std::string_view style, std::string_view text) {
    out.append("<").append(tag).append(" dir=\"auto\" style=\"").append(style).append("\">");
    append_escaped(out, text);
    out.append("</").append(tag).append(">\n");
}

std::string table_start() {
    return "<table role=\"presentation\" style=\"width:100%;border-collapse:collapse;font-size:14px;\">\n";
}

void append_rows(std::string& out, const std::vector<MailRow>& rows) {
    if (rows.empty()) {
        return;
    }
    out += table_start();
    for (const MailRow& row : rows) {
        if (out.size() >= kRowsUpTo) {
            break;
        }
        out += "<tr>\n";
        append_element(out, "td",
                       std::string(kCell) + std::string(kBorder) + std::string(kMuted) + "width:28%;",
                       row.label);
        append_element(out, "td", std::string(kCell) + std::string(kBorder), row.value);
        out += "</tr>\n";
    }
    out += "</table>\n";
}

void append_table(std::string& out, const MailTable& table) {
    std::size_t left_out = table.left_out;
    if (!table.rows.empty()) {
        out += "<table style=\"width:100%;border-collapse:collapse;font-size:14px;\">\n<tr>\n";
        for (const std::string& column : table.columns) {
            append_element(
                out, "th",
                std::string(kHead) + std::string(kBorder) + std::string(kMuted) + "font-weight:600;", column);
        }
        out += "</tr>\n";
        for (const auto& cells : table.rows) {
            if (out.size() >= kRowsUpTo) {
                ++left_out;
                continue;
            }
            out += "<tr>\n";
            for (const std::string& cell : cells) {
                append_element(out, "td", std::string(kCell) + std::string(kBorder), cell);
            }
            out += "</tr>\n";
        }
        out += "</table>\n";
    }
    if (left_out > 0) {
        append_element(out, "p", "margin:6px 0 0;font-size:13px;" + std::string(kMuted),
                       "and " + std::to_string(left_out) + " more");
    }
}

void append_links(std::string& out, const std::vector<MailLink>& links) {
    if (links.empty()) {
        return;
    }
    out += "<p style=\"margin:20px 0 0;font-size:14px;\">";
    for (const MailLink& link : links) {
        out += "<a rel=\"noopener noreferrer\" style=\"margin-right:16px;\" href=\"";
        append_escaped(out, link.url);
        out += "\">";
        append_escaped(out, link.label);
        out += "</a>\n";
    }
    out += "</p>\n";
}

}  // namespace

std::string mail_html(const MailContent& content) {
    std::string out =
        "<!DOCTYPE html>\n<html lang=\"en\" style=\"color-scheme:light dark;\">\n<head>\n<meta "
        "charset=\"utf-8\">\n"
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
        "<meta name=\"color-scheme\" content=\"light dark\">\n<title>";
    append_escaped(out, content.title);
    out +=
        "</title>\n</head>\n<body style=\"margin:0;padding:12px;\">\n"
        "<div style=\"max-width:640px;margin:0 auto;font-family:system-ui,-apple-system,'Segoe UI',Roboto,"
        "Helvetica,Arial,sans-serif;font-size:15px;line-height:1.45;\">\n";
    append_element(out, "div",
                   "background-color:" + std::string(bar_colour(content.tone)) +
                       ";color:#ffffff;padding:10px 14px;border-radius:6px;font-weight:600;",
                   content.status);
    append_element(out, "h1", "margin:16px 0 8px;font-size:19px;line-height:1.3;overflow-wrap:anywhere;",
                   content.title);
    if (!content.summary.empty() && content.summary != content.title) {
        append_element(out, "p", "margin:0 0 16px;overflow-wrap:anywhere;", content.summary);
    }
    for (const MailSection& section : content.sections) {
        if (!section.heading.empty()) {
            append_element(out, "h2", "margin:24px 0 6px;font-size:16px;", section.heading);
        }
        append_rows(out, section.rows);
        append_table(out, section.table);
    }
    append_links(out, content.links);
    if (!content.footer.empty()) {
        append_element(out, "p", "margin:24px 0 0;font-size:12px;" + std::string(kMuted), content.footer);
    }
    out += "</div>\n</body>\n</html>\n";
    return out;
}

}  // namespace sync_engine

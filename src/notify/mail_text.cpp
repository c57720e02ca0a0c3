#include "notify/mail_text.hpp"

#include <algorithm>

namespace sync_engine {
namespace {

// Rows are added up to here; what follows the last of them fits in what is left.
constexpr std::size_t kRowsUpTo = kMaxMailBytes - 60'000;
constexpr std::size_t kLabelColumns = 16;

// Continuation lines are indented, so that they cannot pass for rows.
void append_indented(std::string& out, std::string_view text, std::size_t columns) {
    for (const char c : text) {
        out += c;
        if (c == '\n') {
            out.append(columns, ' ');
        }
    }
}

void append_row(std::string& out, const MailRow& row) {
    out += row.label + ":";
    out.append(row.label.size() + 1 < kLabelColumns ? kLabelColumns - row.label.size() - 1 : 1, ' ');
    append_indented(out, row.value, kLabelColumns);
    out += '\n';
}

// A row of a table: the first cell on a line, the others below it, so that it is legible at any width.
void append_cells(std::string& out, const MailTable& table, const std::vector<std::string>& cells) {
    out += "- " + (cells.front().empty() ? std::string("?") : cells.front());
    out += '\n';
    for (std::size_t i = 1; i < cells.size(); ++i) {
        if (!cells[i].empty()) {
            out += "  " + table.columns[i] + ": " + cells[i] + '\n';
        }
    }
}

void append_section(std::string& out, const MailSection& section) {
    out += '\n';
    if (!section.heading.empty()) {
        out += section.heading + '\n';
        out.append(section.heading.size(), '-');
        out += '\n';
    }
    std::size_t left_out = section.table.left_out;
    for (const MailRow& row : section.rows) {
        if (out.size() < kRowsUpTo) {
            append_row(out, row);
        }
    }
    for (const auto& cells : section.table.rows) {
        if (out.size() < kRowsUpTo) {
            append_cells(out, section.table, cells);
        } else {
            ++left_out;
        }
    }
    if (left_out > 0) {
        out += "... and " + std::to_string(left_out) + " more\n";
    }
}

}  // namespace

std::string mail_text(const MailContent& content) {
    std::string out = content.status + ": " + content.title + '\n';
    if (!content.summary.empty() && content.summary != content.title) {
        out += '\n' + content.summary + '\n';
    }
    for (const MailSection& section : content.sections) {
        append_section(out, section);
    }
    if (!content.links.empty()) {
        out += '\n';
    }
    for (const MailLink& link : content.links) {
        out += link.label + ": " + link.url + '\n';
    }
    if (!content.footer.empty()) {
        out += "\n-- \n" + content.footer + '\n';
    }
    return out;
}

}  // namespace sync_engine

// What a mail says, before it is text or HTML: read from a notification's payload.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace sync_engine {

enum class MailTone { good, bad, warning, neutral };

struct MailRow {
    std::string label;
    std::string value;  // may hold line breaks
};

struct MailTable {
    std::vector<std::string> columns;
    std::vector<std::vector<std::string>> rows;  // each as long as columns
    std::size_t left_out = 0;                    // how many rows there are beyond these
};

// Has rows, a table or both.
struct MailSection {
    std::string heading;  // may be empty
    std::vector<MailRow> rows;
    MailTable table;
};

struct MailLink {
    std::string label;
    std::string url;  // http or https, ASCII, nothing in it that needs escaping but '&'
};

// All text is as display_text makes it, of bounded length and not yet escaped.
struct MailContent {
    MailTone tone = MailTone::neutral;
    std::string status;  // a word or two
    std::string title;   // one line
    std::string summary;
    std::vector<MailSection> sections;
    std::vector<MailLink> links;
    std::string footer;
};

// Reads the payload of any type; of one that is not known, title, summary and what else it recognises.
// Sections in which nothing is to be told are left out. On failure false, and `fault` says what is wrong.
bool read_mail_content(std::string_view payload, MailContent& out, std::string& fault);

}  // namespace sync_engine

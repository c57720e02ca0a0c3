#include <algorithm>
#include <string>

#include "connectors/ascii.hpp"
#include "connectors/paging.hpp"

namespace sync_engine {
namespace {

bool is_blank(char c) {
    return c == ' ' || c == '\t';
}

// Reads a Link header field from left to right. After anything malformed nothing more is read.
class LinkReader {
  public:
    explicit LinkReader(std::string_view text) : text_(text) {}

    std::optional<std::string> find_next() {
        while (skip_to('<')) {
            const std::size_t close = text_.find('>');
            if (close == std::string_view::npos) {
                return std::nullopt;
            }
            const std::string_view target = text_.substr(0, close);
            text_.remove_prefix(close + 1);
            if (read_parameters()) {
                return std::string(target);
            }
        }
        return std::nullopt;
    }

  private:
    void skip_blanks() {
        while (!text_.empty() && is_blank(text_.front())) {
            text_.remove_prefix(1);
        }
    }

    // Commas and blanks may stand before a link.
    bool skip_to(char wanted) {
        while (!text_.empty() && (is_blank(text_.front()) || text_.front() == ',')) {
            text_.remove_prefix(1);
        }
        if (text_.empty() || text_.front() != wanted) {
            return false;
        }
        text_.remove_prefix(1);
        return true;
    }

    std::string_view token() {
        const std::size_t end = std::min(text_.find_first_of(" \t=;,\""), text_.size());
        const std::string_view result = text_.substr(0, end);
        text_.remove_prefix(end);
        return result;
    }

    std::string quoted() {
        std::string result;
        text_.remove_prefix(1);
        while (!text_.empty() && text_.front() != '"') {
            if (text_.front() == '\\' && text_.size() > 1) {
                text_.remove_prefix(1);
            }
            result.push_back(text_.front());
            text_.remove_prefix(1);
        }
        text_.remove_prefix(text_.empty() ? 0 : 1);
        return result;
    }

    // Whether the first rel among the link's parameters has "next" among its values.
    bool read_parameters() {
        bool is_next = false;
        bool had_rel = false;
        skip_blanks();
        while (!text_.empty() && text_.front() == ';') {
            text_.remove_prefix(1);
            skip_blanks();
            const std::string_view name = token();
            skip_blanks();
            std::string value;
            if (!text_.empty() && text_.front() == '=') {
                text_.remove_prefix(1);
                skip_blanks();
                value = !text_.empty() && text_.front() == '"' ? quoted() : std::string(token());
            }
            if (same_ignoring_case(name, "rel") && !had_rel) {
                had_rel = true;
                is_next = names_next(value);
            }
            skip_blanks();
        }
        return is_next;
    }

    static bool names_next(std::string_view relations) {
        while (!relations.empty()) {
            const std::size_t end = std::min(relations.find(' '), relations.size());
            if (same_ignoring_case(relations.substr(0, end), "next")) {
                return true;
            }
            relations.remove_prefix(std::min(end + 1, relations.size()));
        }
        return false;
    }

    std::string_view text_;
};

}  // namespace

std::optional<std::string> next_link(const Headers& headers) {
    for (const auto& [name, value] : headers) {
        if (same_ignoring_case(name, "Link")) {
            if (auto target = LinkReader(value).find_next()) {
                return target;
            }
        }
    }
    return std::nullopt;
}

}  // namespace sync_engine

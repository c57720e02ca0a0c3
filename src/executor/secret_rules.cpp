#include "executor/secret_rules.hpp"

#include <algorithm>

namespace sync_engine {

namespace {

std::string lower_case(std::string_view text) {
    std::string out(text);
    std::transform(out.begin(), out.end(), out.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
    return out;
}

bool matches(const std::string& pattern, const std::string& host) {
    if (!pattern.starts_with("*.")) {
        return pattern == host;
    }
    const std::string_view suffix = std::string_view(pattern).substr(1);
    return host.size() > suffix.size() && host.ends_with(suffix);
}

}  // namespace

bool HostList::admits(std::string_view host) const {
    const std::string wanted = lower_case(host);
    return hosts.empty() || std::any_of(hosts.begin(), hosts.end(),
                                        [&](const std::string& pattern) { return matches(pattern, wanted); });
}

std::optional<std::vector<std::pair<std::string, HostList>>> parse_host_bound_list(std::string_view text) {
    std::vector<std::pair<std::string, HostList>> items;
    std::string word;
    bool in_hosts = false;
    const auto finish_word = [&] {
        if (!word.empty() && in_hosts) {
            items.back().second.hosts.push_back(lower_case(word));
        } else if (!word.empty()) {
            items.emplace_back(word, HostList{});
        }
        word.clear();
    };
    const auto finish_item = [&] {
        finish_word();
        const bool complete = !in_hosts || !items.back().second.hosts.empty();
        in_hosts = false;
        return complete;
    };
    for (const char c : text) {
        if (c == ' ' || c == '\t' || c == '\n' || c == ';') {
            if (!finish_item()) {
                return std::nullopt;
            }
        } else if (c == ',') {
            finish_word();
        } else if (c == '@' && !in_hosts) {
            if (word.empty()) {
                return std::nullopt;
            }
            finish_word();
            in_hosts = true;
        } else {
            word += c;
        }
    }
    if (!finish_item()) {
        return std::nullopt;
    }
    return items;
}

}  // namespace sync_engine

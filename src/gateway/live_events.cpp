#include "gateway/live_events.hpp"

#include <algorithm>
#include <array>

#include "connectors/url_text.hpp"
#include "process/json_string.hpp"

namespace sync_engine {

namespace {

constexpr std::array<std::string_view, 4> kKinds{"job", "connection", "schedule", "notification"};
constexpr std::array<std::string_view, 3> kParameters{"kinds", "connection_id", "last_event_id"};
constexpr std::size_t kMaxIdDigits = 18;

// The first parameter that is not known; empty: there is none.
std::string unknown_in(std::string_view target) {
    const std::size_t query = target.find('?');
    target.remove_prefix(query == std::string_view::npos ? target.size() : query + 1);
    while (!target.empty()) {
        const std::string_view pair = target.substr(0, target.find('&'));
        const std::string_view name = pair.substr(0, pair.find('='));
        if (!pair.empty() && std::ranges::find(kParameters, name) == kParameters.end()) {
            return std::string(name);
        }
        target.remove_prefix(std::min(pair.size() + 1, target.size()));
    }
    return "";
}

bool read_kinds(std::string_view list, std::vector<std::string>& kinds) {
    while (!list.empty()) {
        const std::size_t end = std::min(list.find(','), list.size());
        const std::string_view kind = list.substr(0, end);
        if (std::ranges::find(kKinds, kind) == kKinds.end()) {
            return false;
        }
        kinds.emplace_back(kind);
        list.remove_prefix(std::min(end + 1, list.size()));
    }
    return true;
}

bool is_id(std::string_view text) {
    return !text.empty() && text.size() <= kMaxIdDigits &&
           text.find_first_not_of("0123456789") == std::string_view::npos && text.front() != '0';
}

std::string id_line(std::string_view position) {
    return position.empty() ? "" : "id: " + std::string(position) + "\n";
}

}  // namespace

bool LiveFilter::takes(const LiveEvent& event) const {
    if (event.kind == kResetEvent) {
        return true;
    }
    return (kinds.empty() || std::ranges::find(kinds, event.kind) != kinds.end()) &&
           (connection_id.empty() || event.connection_id == connection_id);
}

bool read_live_filter(std::string_view target, LiveFilter& filter, std::string& parameter,
                      std::string& fault) {
    parameter = unknown_in(target);
    if (!parameter.empty()) {
        fault = parameter + " is not known here";
        return false;
    }
    for (const std::string& list : parameter_values(target, "kinds")) {
        if (!read_kinds(list, filter.kinds)) {
            parameter = "kinds";
            fault = "kinds are job, connection, schedule and notification";
            return false;
        }
    }
    for (const std::string& id : parameter_values(target, "connection_id")) {
        if (!is_id(id)) {
            parameter = "connection_id";
            fault = "connection_id is no id of a connection";
            return false;
        }
        filter.connection_id = id;
    }
    return true;
}

LiveEvent reset_event(std::string position) {
    return {std::move(position), std::string(kResetEvent), "", "{}"};
}

std::string event_text(const LiveEvent& event) {
    return id_line(event.position) + "event: " + event.kind + "\ndata: " + event.data + "\n\n";
}

std::string end_text(std::string_view reason) {
    std::string text = "event: " + std::string(kEndEvent) + "\ndata: {\"reason\":";
    append_json_string(text, reason);
    return text + "}\n\n";
}

std::string ping_text(std::string_view position) {
    return ": ping\n" + id_line(position) + "\n";
}

std::string opening_text(std::string_view position) {
    return "retry: 2000\n" + id_line(position) + "\n";
}

}  // namespace sync_engine

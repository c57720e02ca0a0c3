#include "notify/mail_content.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "connectors/json_text.hpp"
#include "notify/display_text.hpp"
#include "notify/mail_digest.hpp"
#include "notify/mail_values.hpp"

namespace sync_engine {
namespace {

using ReadSections = void (*)(const Json& data, MailContent& out);

void read_event(const Json& data, MailContent& out);

struct MessageType {
    std::string_view type;
    MailTone tone;
    std::string_view status;
    ReadSections read;
};

constexpr std::array kTypes{
    MessageType{"sync.succeeded", MailTone::good, "Succeeded", read_event},
    MessageType{"sync.failed", MailTone::bad, "Failed", read_event},
    MessageType{"sync.retrying", MailTone::warning, "Failing, retried", read_event},
    MessageType{"sync.rate_limited", MailTone::warning, "Rate limited", read_event},
    MessageType{"sync.no_records", MailTone::warning, "No records", read_event},
    MessageType{"sync.late", MailTone::warning, "Late", read_event},
    MessageType{"sync.missed", MailTone::warning, "Missed", read_event},
    MessageType{"sync.recovered", MailTone::good, "Recovered", read_event},
    MessageType{"connection.auto_paused", MailTone::bad, "Paused", read_event},
    MessageType{"notification.disabled", MailTone::bad, "Notification disabled", read_event},
    MessageType{"digest.daily", MailTone::neutral, "Daily digest", read_digest},
    MessageType{"digest.weekly", MailTone::neutral, "Weekly digest", read_digest},
    MessageType{"sync.bundle", MailTone::warning, "Many events", read_bundle},
    MessageType{"test", MailTone::neutral, "Test", read_event},
};

// What an event's data may hold that is shown by other means, or is of no use to a reader.
constexpr std::array<std::string_view, 13> kKnownMembers{
    "title", "summary", "event_id", "tenant",   "notification", "connection", "schedule",
    "run",   "counts",  "error",    "incident", "next_run_at",  "links"};

// "120 processed, 100 created"
std::string counts_text(const Json& counts) {
    std::string text;
    for (const char* name : {"processed", "created", "updated", "skipped"}) {
        const std::string count = count_at(counts, name);
        text += count.empty() ? "" : (text.empty() ? "" : ", ") + count + " " + name;
    }
    return text;
}

std::string run_text(const Json& run) {
    std::string text = text_at(run, "id", kMaxCellCharacters);
    for (const char* name : {"job_type", "trigger"}) {
        const std::string word = words_of(text_at(run, name, kMaxCellCharacters));
        text += word.empty() || text.empty() ? word : ", " + word;
    }
    return text;
}

void add_run(MailSection& section, const Json& data) {
    const Json& run = object_at(data, "run");
    add_row(section, "Run", run_text(run));
    add_row(section, "Planned for", time_at(run, "planned_at"));
    add_row(section, "Started", time_at(run, "started_at"));
    add_row(section, "Finished", time_at(run, "finished_at"));
    if (const auto milliseconds = number_at(run, "duration_ms")) {
        add_row(section, "Duration", duration_text(*milliseconds / 1000));
    }
    if (number_at(run, "attempt").value_or(0) > 1 && !any_at(object_at(data, "error"), "attempts")) {
        add_row(section, "Attempt", count_at(run, "attempt"));
    }
    if (number_at(run, "pages").value_or(0) > 1) {
        add_row(section, "Pages", count_at(run, "pages"));
    }
    const Json& counts = object_at(data, "counts");
    add_row(section, "Records", counts_text(counts));
    if (const auto bytes = number_at(counts, "bytes"); bytes && *bytes > 0) {
        add_row(section, "Data", bytes_text(*bytes));
    }
}

void add_error(MailSection& section, const Json& error) {
    add_row(section, "Error", block_at(error, "message"));
    std::string code = text_at(error, "code", kMaxCellCharacters);
    const std::string status = text_at(error, "status", kMaxCellCharacters);
    if (!status.empty()) {
        code += code.empty() ? "status " + status : " (status " + status + ")";
    }
    add_row(section, "Error code", code);
    add_row(section, "Kind of error", words_of(text_at(error, "class", kMaxCellCharacters)));
    add_row(section, "Attempts", count_at(error, "attempts"));
    add_row(section, "Next attempt", time_at(error, "retry_at"));
}

void add_incident(MailSection& section, const Json& incident) {
    const std::string state = words_of(text_at(incident, "state", kMaxCellCharacters));
    const std::string id = text_at(incident, "id", kMaxCellCharacters);
    add_row(section, "Incident", id.empty() || state.empty() ? id + state : id + ", " + state);
    add_row(section, "Open since", time_at(incident, "opened_at"));
    if (number_at(incident, "occurrences").value_or(0) > 1) {
        add_row(section, "Occurrences", count_at(incident, "occurrences"));
    }
    if (any_at(incident, "failed_runs")) {
        add_row(section, "Failed runs", count_at(incident, "failed_runs"));
    }
    add_row(section, "Resolved", time_at(incident, "resolved_at"));
}

// Of members that are new to this version, those that are a plain value.
void add_others(MailSection& section, const Json& data) {
    constexpr std::size_t kMostOthers = 20;
    std::size_t added = 0;
    for (const auto& m : data.GetObject()) {
        const std::string_view name = string_view_of(m.name);
        const bool known = std::find(kKnownMembers.begin(), kKnownMembers.end(), name) != kKnownMembers.end();
        if (!known && added < kMostOthers) {
            const std::size_t before = section.rows.size();
            add_row(section, words_of(name), text_of(m.value));
            added += section.rows.size() - before;
        }
    }
}

void read_event(const Json& data, MailContent& out) {
    MailSection section;
    add_row(section, "Connection", connection_text(object_at(data, "connection")));
    add_row(section, "Schedule", name_text(object_at(data, "schedule")));
    add_run(section, data);
    add_error(section, object_at(data, "error"));
    add_incident(section, object_at(data, "incident"));
    add_row(section, "Next run", time_at(data, "next_run_at"));
    add_others(section, data);
    add_section(out, std::move(section));
    if (text_at(object_at(data, "incident"), "state") == "reminder") {
        out.status += " (reminder)";
    }
}

void read_links(const Json& data, MailContent& out) {
    constexpr std::array<std::pair<const char*, const char*>, 4> kLinks{
        {{"connection", "Connection"},
         {"schedule", "Schedule"},
         {"run", "Run"},
         {"settings", "Notification settings"}}};
    const Json& links = object_at(data, "links");
    for (const auto& [name, label] : kLinks) {
        const Json* const url = member(links, name);
        std::string checked = url != nullptr && is_string(*url) ? link_url(string_view_of(*url)) : "";
        if (!checked.empty()) {
            out.links.push_back({label, std::move(checked)});
        }
    }
}

std::string footer_of(const Json& data) {
    const std::string name = name_text(object_at(data, "notification"));
    const std::string tenant = text_at(data, "tenant", kMaxCellCharacters);
    if (name.empty() && tenant.empty()) {
        return {};
    }
    return "Sent by the notification" + (name.empty() ? "" : " " + name) +
           (tenant.empty() ? "" : " of " + tenant) + ".";
}

}  // namespace

bool read_mail_content(std::string_view payload, MailContent& out, std::string& fault) {
    rapidjson::Document document;
    if (!parse_json(clean_json(payload).text, document, fault)) {
        fault = "the payload is not JSON: " + fault;
        return false;
    }
    if (!document.IsObject()) {
        fault = "the payload is not an object";
        return false;
    }
    const std::string type = text_at(document, "type", kMaxCellCharacters);
    const Json& data = object_at(document, "data");
    out = {};
    const auto known =
        std::find_if(kTypes.begin(), kTypes.end(), [&](const MessageType& t) { return t.type == type; });
    out.tone = known == kTypes.end() ? MailTone::neutral : known->tone;
    out.status = known == kTypes.end() ? words_of(type) : std::string(known->status);
    out.title = text_at(data, "title", kMaxTitleCharacters);
    out.summary = block_at(data, "summary");
    out.footer = footer_of(data);
    (known == kTypes.end() ? read_event : known->read)(data, out);
    read_links(data, out);
    if (out.status.empty()) {
        out.status = "Notification";
    }
    if (out.title.empty()) {
        out.title = out.status;
    }
    return true;
}

}  // namespace sync_engine

#include "notify/mail_digest.hpp"

#include <utility>

#include "notify/display_text.hpp"

namespace sync_engine {
namespace {

// Adds a row for each element of `items` of which `cells` makes one.
template <class ToCells>
void fill(MailTable& table, const Json& items, std::optional<double> total, ToCells cells) {
    const std::size_t shown = shown_rows(table, items.Size(), total);
    for (rapidjson::SizeType i = 0; i < shown; ++i) {
        table.rows.push_back(cells(items[i]));
    }
}

std::string connection_cell(const Json& item) {
    return display_line(connection_text(object_at(item, "connection")), kMaxCellCharacters);
}

// "117 (before: 118)"
std::string compared(const std::string& now, const std::string& before) {
    return now.empty() || before.empty() ? now : now + " (before: " + before + ")";
}

std::string rate_at(const Json& runs) {
    const auto rate = number_at(runs, "success_rate");
    return rate ? percent_text(*rate) : "";
}

std::string seconds_at(const Json& object, std::string_view name) {
    const auto seconds = number_at(object, name);
    return seconds ? duration_text(*seconds) : "";
}

// Counts are shown where there is something to be counted.
void add_count(MailSection& section, std::string_view label, const Json& object, std::string_view name) {
    if (any_at(object, name)) {
        add_row(section, label, count_at(object, name));
    }
}

void add_period(const Json& data, MailContent& out) {
    const Json& period = object_at(data, "period");
    MailSection section;
    add_row(section, "Period", text_at(period, "label"));
    const std::string from = time_at(period, "from");
    const std::string to = time_at(period, "to");
    const bool local = !text_at(period, "from_local").empty();
    const std::string zone = local ? text_at(period, "timezone", kMaxCellCharacters) : "";
    if (!from.empty() && !to.empty()) {
        add_row(section, "From", from + (zone.empty() ? "" : " (" + zone + ")"));
        add_row(section, "To", to + (zone.empty() ? "" : " (" + zone + ")"));
    }
    add_section(out, std::move(section));
}

void add_runs(const Json& data, MailContent& out) {
    const Json& runs = object_at(data, "runs");
    const Json& previous = object_at(runs, "previous");
    MailSection section{"Runs", {}, {}};
    add_count(section, "Planned", runs, "planned");
    add_row(section, "Ran", compared(count_at(runs, "ran"), count_at(previous, "ran")));
    add_row(section, "Succeeded", compared(count_at(runs, "succeeded"), count_at(previous, "succeeded")));
    if (any_at(runs, "failed") || any_at(previous, "failed")) {
        add_row(section, "Failed", compared(count_at(runs, "failed"), count_at(previous, "failed")));
    }
    add_count(section, "Cancelled", runs, "cancelled");
    add_count(section, "Skipped", runs, "skipped");
    add_count(section, "Missed", runs, "missed");
    add_count(section, "Coalesced", runs, "coalesced");
    if (any_at(runs, "ran")) {
        add_row(section, "Success rate", compared(rate_at(runs), rate_at(previous)));
    }
    if (any_at(runs, "planned") || any_at(runs, "ran") || any_at(previous, "ran")) {
        add_section(out, std::move(section));
    }
}

void add_records(const Json& data, MailContent& out) {
    const Json& records = object_at(data, "records");
    MailSection section{"Records", {}, {}};
    add_count(section, "Processed", records, "processed");
    if (any_at(records, "created") || any_at(records, "previous_created")) {
        add_row(section, "New",
                compared(count_at(records, "created"), count_at(records, "previous_created")));
    }
    add_section(out, std::move(section));
}

std::string when_not_run(const Json& item) {
    const std::string first = time_at(item, "first_planned_at");
    const std::string last = time_at(item, "last_planned_at");
    const bool several = number_at(item, "count").value_or(1) > 1;
    std::string when = last.empty() || last == first ? first : first + " to " + last;
    return several ? when + (when.empty() ? "" : ", ") + count_at(item, "count") + " times" : when;
}

void add_not_run(const Json& data, MailContent& out) {
    const Json& not_run = object_at(data, "not_run");
    MailSection section{"Did not run", {}, {}};
    section.table.columns = {"Connection", "Schedule", "Why", "Planned for"};
    fill(section.table, array_at(not_run, "items"), number_at(not_run, "total"), [](const Json& item) {
        const std::string outcome = words_of(text_at(item, "outcome", kMaxCellCharacters));
        const std::string reason = text_at(item, "reason", kMaxCellCharacters);
        const bool both = !outcome.empty() && !reason.empty();
        return std::vector<std::string>{connection_cell(item), name_text(object_at(item, "schedule")),
                                        outcome + (both ? ": " : "") + reason, when_not_run(item)};
    });
    add_section(out, std::move(section));
}

void add_worst(const Json& data, MailContent& out) {
    MailSection section{"Most failures", {}, {}};
    section.table.columns = {"Connection", "Failed", "Last error"};
    fill(section.table, array_at(data, "worst"), std::nullopt, [](const Json& item) {
        const std::string runs = count_at(item, "runs");
        return std::vector<std::string>{connection_cell(item),
                                        count_at(item, "failed") + (runs.empty() ? "" : " of " + runs),
                                        text_at(item, "last_error", kMaxCellCharacters)};
    });
    add_section(out, std::move(section));
}

void add_incidents(const Json& data, MailContent& out) {
    const Json& incidents = object_at(data, "incidents");
    MailSection section{"Incidents", {}, {}};
    add_count(section, "Opened", incidents, "opened");
    add_count(section, "Resolved", incidents, "resolved");
    add_count(section, "Still open", incidents, "open");
    section.table.columns = {"Connection", "State", "Since", "What"};
    fill(section.table, array_at(incidents, "items"), std::nullopt, [](const Json& item) {
        const std::string kind = words_of(text_at(item, "class", kMaxCellCharacters));
        const std::string message = text_at(item, "message", kMaxCellCharacters);
        const std::string resolved = time_at(item, "resolved_at");
        const bool both = !kind.empty() && !message.empty();
        return std::vector<std::string>{
            connection_cell(item), words_of(text_at(item, "state", kMaxCellCharacters)),
            time_at(item, "opened_at") + (resolved.empty() ? "" : " to " + resolved),
            kind + (both ? ": " : "") + message};
    });
    add_section(out, std::move(section));
}

void add_stale(const Json& data, MailContent& out) {
    const Json& stale = object_at(data, "stale");
    MailSection section{"Out of date", {}, {}};
    section.table.columns = {"Connection", "Last success", "Expected every"};
    fill(section.table, array_at(stale, "items"), number_at(stale, "total"), [](const Json& item) {
        const std::string last = time_at(item, "last_success_at");
        return std::vector<std::string>{connection_cell(item), last.empty() ? "never" : last,
                                        seconds_at(item, "expected_seconds")};
    });
    add_section(out, std::move(section));
}

void add_rate_limits(const Json& data, MailContent& out) {
    const Json& limits = object_at(data, "rate_limits");
    MailSection section{"Rate limits", {}, {}};
    add_count(section, "Attempts", limits, "attempts");
    if (any_at(limits, "seconds_lost")) {
        add_row(section, "Time lost", seconds_at(limits, "seconds_lost"));
    }
    section.table.columns = {"Connection", "Time lost"};
    fill(section.table, array_at(limits, "items"), std::nullopt, [](const Json& item) {
        return std::vector<std::string>{connection_cell(item), seconds_at(item, "seconds")};
    });
    add_section(out, std::move(section));
}

void add_next(const Json& data, MailContent& out) {
    const Json& next = object_at(data, "next");
    MailSection section{"Coming up", {}, {}};
    if (any_at(next, "runs")) {
        const std::string until = time_at(next, "until");
        add_row(section, "Runs", count_at(next, "runs") + (until.empty() ? "" : " until " + until));
    }
    section.table.columns = {"Connection", "Schedule", "Runs at"};
    fill(section.table, array_at(next, "items"), std::nullopt, [](const Json& item) {
        return std::vector<std::string>{connection_cell(item), name_text(object_at(item, "schedule")),
                                        time_at(item, "runs_at")};
    });
    add_section(out, std::move(section));
}

}  // namespace

void read_digest(const Json& data, MailContent& out) {
    const Json& runs = object_at(data, "runs");
    const bool trouble = any_at(runs, "failed") || any_at(runs, "missed") ||
                         any_at(object_at(data, "incidents"), "open") ||
                         any_at(object_at(data, "stale"), "total");
    out.tone = trouble ? MailTone::warning : any_at(runs, "ran") ? MailTone::good : MailTone::neutral;
    add_period(data, out);
    add_runs(data, out);
    add_records(data, out);
    add_not_run(data, out);
    add_worst(data, out);
    add_incidents(data, out);
    add_stale(data, out);
    add_rate_limits(data, out);
    add_next(data, out);
}

void read_bundle(const Json& data, MailContent& out) {
    MailSection summary;
    add_row(summary, "From", time_at(data, "from"));
    add_row(summary, "To", time_at(data, "to"));
    add_row(summary, "Events", count_at(data, "total"));
    add_section(out, std::move(summary));

    MailSection by{"By kind", {}, {}};
    by.table.columns = {"Event", "Provider", "Class", "Number"};
    fill(by.table, array_at(data, "by"), std::nullopt, [](const Json& item) {
        return std::vector<std::string>{words_of(text_at(item, "type", kMaxCellCharacters)),
                                        text_at(item, "provider", kMaxCellCharacters),
                                        words_of(text_at(item, "class", kMaxCellCharacters)),
                                        count_at(item, "count")};
    });
    add_section(out, std::move(by));

    MailSection events{"Events", {}, {}};
    events.table.columns = {"Time", "Connection", "What"};
    fill(events.table, array_at(data, "events"), number_at(data, "total"), [](const Json& item) {
        const std::string title = text_at(item, "title", kMaxCellCharacters);
        return std::vector<std::string>{
            time_at(item, "timestamp"), connection_cell(item),
            title.empty() ? words_of(text_at(item, "type", kMaxCellCharacters)) : title};
    });
    add_section(out, std::move(events));
}

}  // namespace sync_engine

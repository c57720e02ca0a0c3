#include "gateway/database_problem.hpp"

#include <algorithm>
#include <array>

namespace sync_engine {

namespace {

// What users set, by the names that columns, parameters and the JSON of the API share.
constexpr std::array<std::string_view, 51> kFields{
    "at",
    "catch_up",
    "catchup_limit",
    "catchup_max_age",
    "config",
    "connection_id",
    "count",
    "cron_expression",
    "cursor",
    "days",
    "debounce_seconds",
    "description",
    "dst_fold",
    "dst_gap",
    "ends_at",
    "events",
    "expires_at",
    "external_id",
    "hook_id",
    "interval_seconds",
    "is_active",
    "jitter_seconds",
    "job_id",
    "job_type",
    "max_rows",
    "metadata",
    "name",
    "notification_id",
    "notification_settings",
    "notification_type",
    "overlap",
    "pause_reason",
    "priority",
    "provider",
    "provider_slug",
    "reason",
    "requests_per_minute",
    "resume_at",
    "schedule_id",
    "schedule_type",
    "scheme",
    "scope",
    "scopes",
    "secret",
    "starts_at",
    "status",
    "tenant_id",
    "timezone",
    "token",
    "user_id",
    "recipients",
};

bool is_field(std::string_view name) {
    return std::ranges::find(kFields, name) != kFields.end();
}

// "sync_schedules_jitter_seconds_check" -> "jitter_seconds"
std::string_view field_of_constraint(std::string_view constraint) {
    constexpr std::array<std::string_view, 5> suffixes{"_check", "_fkey", "_key", "_not_null", "_pkey"};
    for (const std::string_view suffix : suffixes) {
        if (constraint.ends_with(suffix)) {
            constraint.remove_suffix(suffix.size());
            break;
        }
    }
    // The longest field that it ends with: of "connections_provider_slug" that is no other's "slug".
    std::string_view best;
    for (const std::string_view field : kFields) {
        const bool ends = constraint.ends_with(field) && constraint.size() > field.size() &&
                          constraint[constraint.size() - field.size() - 1] == '_';
        if (ends && field.size() > best.size()) {
            best = field;
        }
    }
    return best;
}

// The messages that do not begin with the name of what they are about, and where that is in a body.
constexpr std::array<std::pair<std::string_view, std::string_view>, 18> kBeginnings{{
    {"invalid cron expression", "cron_expression"},
    {"time zone ", "timezone"},
    {"the schedule \"", "cron_expression"},
    {"a custom schedule needs a cron_expression", "cron_expression"},
    {"a realtime schedule has no cron_expression", "cron_expression"},
    {"at and days ", "at"},
    {"an hourly schedule has no days", "at"},
    {"connection ", "connection_id"},
    {"range lower bound ", "from"},
    {"schedule ", "schedule_id"},
    {"unknown scheme", "scheme"},
    {"the secret ", "secret"},
    {"there is no event ", "events"},
    {"the e-mail address ", "config/to"},
    {"config.to ", "config/to"},
    {"config.users ", "config/users"},
    {"config.url ", "config/url"},
    {"the webhook URL ", "config/url"},
}};

std::string_view field_of_message(std::string_view message) {
    for (const auto& [beginning, field] : kBeginnings) {
        if (message.starts_with(beginning)) {
            return field;
        }
    }
    // "tenant acme has no schedule 5"; "digest.every must be day or week"
    if (message.find(" has no schedule ") != std::string_view::npos) {
        return "schedule_id";
    }
    if (message.starts_with("digest")) {
        return "config/digest";
    }
    // The server's own words: null value in column "name" of relation ...
    constexpr std::string_view column = "column \"";
    if (const std::size_t at = message.find(column); at != std::string_view::npos) {
        const std::string_view rest = message.substr(at + column.size());
        const std::string_view name = rest.substr(0, rest.find('"'));
        return is_field(name) ? name : std::string_view();
    }
    const std::string_view first = message.substr(0, message.find(' '));
    return is_field(first) ? first : std::string_view();
}

std::string pointer_of(const PgOutcome& outcome) {
    std::string_view field = field_of_constraint(outcome.constraint);
    if (field.empty()) {
        field = field_of_message(outcome.message);
    }
    return field.empty() ? "" : "/" + std::string(field);
}

// Hints are written for who has psql in front of him.
std::string hint_of(const PgOutcome& outcome) {
    const bool is_sql =
        outcome.hint.find("sync.") != std::string::npos || outcome.hint.find("SELECT ") != std::string::npos;
    return is_sql ? "" : outcome.hint;
}

// The number in "Try again in 12 seconds."; empty when it is not said.
std::string seconds_to_wait(std::string_view detail) {
    constexpr std::string_view before = "Try again in ";
    const std::size_t at = detail.find(before);
    if (at == std::string_view::npos) {
        return {};
    }
    detail.remove_prefix(at + before.size());
    return std::string(detail.substr(0, detail.find_first_not_of("0123456789")));
}

// A constraint's own message names tables, and its detail quotes the row.
std::string detail_of_invalid(const PgOutcome& outcome, std::string_view pointer) {
    const bool by_server =
        outcome.sqlstate.starts_with("23") && outcome.message.find("violates") != std::string::npos;
    const std::string what = pointer.empty() ? "a value" : std::string(pointer.substr(1));
    if (by_server) {
        return outcome.sqlstate == "23503"   ? what + " names something that does not exist"
               : outcome.sqlstate == "23502" ? what + " must not be null"
                                             : what + " is not one that is allowed";
    }
    return outcome.sqlstate.starts_with("23") || outcome.detail.empty()
               ? outcome.message
               : outcome.message + ". " + outcome.detail;
}

Problem plain(unsigned status, std::string code, const PgOutcome& outcome) {
    Problem problem;
    problem.status = status;
    problem.code = std::move(code);
    problem.detail = outcome.message;
    problem.hint = hint_of(outcome);
    return problem;
}

Problem said(unsigned status, std::string code, std::string detail) {
    Problem problem;
    problem.status = status;
    problem.code = std::move(code);
    problem.detail = std::move(detail);
    return problem;
}

Problem invalid(const PgOutcome& outcome) {
    Problem problem = plain(422, "invalid", outcome);
    problem.pointer = pointer_of(outcome);
    problem.detail = detail_of_invalid(outcome, problem.pointer);
    return problem;
}

// Rates come with a time to wait; other limits do not pass by waiting.
DatabaseProblem limited(const PgOutcome& outcome) {
    const std::string seconds = seconds_to_wait(outcome.detail);
    if (seconds.empty()) {
        return {plain(409, "limit_reached", outcome), {}};
    }
    DatabaseProblem limited{plain(429, "rate_limited", outcome), {{"Retry-After", seconds}}};
    limited.problem.detail += ". " + outcome.detail;
    return limited;
}

DatabaseProblem unavailable(std::string code, std::string detail) {
    return {said(503, std::move(code), std::move(detail)), {{"Retry-After", "1"}}};
}

bool is_invalid(std::string_view state) {
    return state.starts_with("22") || state == "23502" || state == "23503" || state == "23514" ||
           state == "54000";
}

DatabaseProblem of_error(const PgOutcome& outcome, NamedIn named) {
    const std::string& state = outcome.sqlstate;
    if (state == "28000") {
        return {plain(401, "unauthenticated", outcome), {{"WWW-Authenticate", "Bearer"}}};
    }
    if (state == "42501" && is_refusal_of_client(outcome)) {
        return {plain(403, "forbidden", outcome), {}};
    }
    if (state == "P0002" && named == NamedIn::body) {
        return {invalid(outcome), {}};
    }
    if (state == "P0002") {
        return {plain(404, "not_found", outcome), {}};
    }
    if (state == "55000") {
        return {plain(409, "not_possible", outcome), {}};
    }
    if (state == "23505") {
        return {said(409, "already_exists", outcome.detail.empty() ? "there is one already" : outcome.detail),
                {}};
    }
    if (state == "SE412") {
        return {plain(412, "changed_meanwhile", outcome), {}};
    }
    if (state == "53400") {
        return limited(outcome);
    }
    if (is_conflict_of_transactions(outcome)) {
        return unavailable("busy", "others changed the same at the same time");
    }
    if (state == "57014") {
        return unavailable("timeout", "the database took too long");
    }
    // A standby: another connection may find the server that has taken over.
    if (state == "25006") {
        return unavailable("unavailable", "the database takes no changes");
    }
    if (is_invalid(state)) {
        return {invalid(outcome), {}};
    }
    return {said(500, "internal", "something is wrong with the service, not with the request"), {}};
}

}  // namespace

bool is_refusal_of_client(const PgOutcome& outcome) {
    // Rights that the gateway's own role lacks are nothing that the client could do something about.
    return outcome.status == PgOutcome::Status::failed &&
           (outcome.sqlstate == "28000" ||
            (outcome.sqlstate == "42501" && !outcome.message.starts_with("permission denied")));
}

bool is_conflict_of_transactions(const PgOutcome& outcome) {
    return outcome.status == PgOutcome::Status::failed &&
           (outcome.sqlstate == "40001" || outcome.sqlstate == "40P01");
}

DatabaseProblem database_problem(const PgOutcome& outcome, NamedIn named) {
    switch (outcome.status) {
        case PgOutcome::Status::lost:
            return unavailable("unavailable", "the database cannot be reached");
        case PgOutcome::Status::overloaded:
            return unavailable("overloaded", "there is more to do than can be done just now");
        case PgOutcome::Status::timed_out:
            return unavailable("timeout", "the database took too long");
        default:
            return of_error(outcome, named);
    }
}

HttpReply database_problem_reply(const PgOutcome& outcome, std::string_view request_id, Logger& log,
                                 NamedIn named) {
    DatabaseProblem found = database_problem(outcome, named);
    if (found.problem.status == 500) {
        log.error("the database answered with an error", {{"sqlstate", outcome.sqlstate},
                                                          {"error", outcome.message},
                                                          {"detail", outcome.detail},
                                                          {"request_id", request_id}});
    }
    HttpReply reply = problem_reply(found.problem, request_id);
    reply.headers.insert(reply.headers.end(), found.headers.begin(), found.headers.end());
    return reply;
}

}  // namespace sync_engine

#include "connectors/http_reply.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "connectors/auth.hpp"
#include "connectors/http_failure.hpp"
#include "connectors/http_status.hpp"
#include "connectors/json_text.hpp"
#include "connectors/paging.hpp"
#include "connectors/rate_limit.hpp"
#include "connectors/retry_after.hpp"
#include "connectors/signal_mapping.hpp"
#include "connectors/url_text.hpp"

namespace sync_engine {
namespace {

constexpr std::size_t kMaxEtagBytes = 1024;
// What servers say to a page position that they no longer know.
constexpr std::array<long, 5> kExpiredPosition = {400, 404, 410, 416, 422};

// Collects a page's stats.
class Stats {
  public:
    void add(std::string_view name, std::string_view json) {
        text_ += text_.size() > 1 ? ",\"" : "\"";
        text_.append(name).append("\":").append(json);
    }
    void add_count(std::string_view name, std::size_t count) {
        if (count > 0) {
            add(name, std::to_string(count));
        }
    }
    std::string json() const { return text_ + "}"; }

  private:
    std::string text_ = "{";
};

// One reply on its way to becoming a page.
struct Reading {
    const Job& job;
    const HttpConfig& config;
    const SyncCursor& cursor;
    const ApiRequest& request;
    const HttpResponse& response;
    TimestampUs now;
    std::vector<std::string> secrets;
    RateLimit limit;
    Stats stats;
};

void add_common_stats(Reading& reading) {
    reading.stats.add("status", std::to_string(reading.response.status));
    if (const std::string limit = rate_limit_json(reading.limit); !limit.empty()) {
        reading.stats.add("rate_limit", limit);
    }
}

// The server does not know the position any more: the run begins once more from the watermark, once.
Page restarted_page(Reading& reading) {
    add_common_stats(reading);
    reading.stats.add("restarted", "true");
    SyncCursor cursor;
    cursor.watermark_json = reading.cursor.watermark_json;
    cursor.others = reading.cursor.others;
    cursor.restarted = true;
    return {{}, write_cursor(cursor), true, reading.stats.json()};
}

bool is_expired_position(const Reading& reading) {
    const long status = reading.response.status;
    return reading.cursor.page && !reading.cursor.restarted && !reading.config.status_map.contains(status) &&
           std::ranges::find(kExpiredPosition, status) != kExpiredPosition.end();
}

std::variant<rapidjson::Document, Failure> parse_body(Reading& reading) {
    rapidjson::Document document;
    const HttpResponse& response = reading.response;
    if (response.body.empty() && (response.status == 204 || response.status == 205)) {
        return document;
    }
    const CleanJson clean = clean_json(response.body);
    std::string error;
    if (!parse_json(clean.text, document, error)) {
        const std::string begin = excerpt(response.body, reading.secrets);
        return http_failure(FailureKind::transient, "not_json",
                            "the reply is not JSON (" + error + ")" +
                                (begin.empty() ? std::string() : "; it begins: " + begin),
                            response.status, reading.limit.retry_after_seconds);
    }
    reading.stats.add_count("replaced_characters", clean.replaced);
    return document;
}

// The reply's records; JSON null is an empty list, as some servers write it.
std::variant<const rapidjson::Value*, Failure> find_records(const Reading& reading,
                                                            const rapidjson::Document& reply) {
    static const rapidjson::Value none(rapidjson::kArrayType);
    const JsonPointer& pointer = reading.config.records;
    const rapidjson::Value* records = reply.IsNull() ? &none : pointer.find_or_null(reply);
    if (records != nullptr && records->IsNull()) {
        records = &none;
    }
    if (records != nullptr && records->IsArray()) {
        return records;
    }
    const std::string what = records == nullptr
                                 ? "is missing"
                                 : "is a JSON " + std::string(json_type_name(*records)) + ", not an array";
    return http_failure(FailureKind::permanent, "bad_reply",
                        "records: " + pointer.path() + " " + what +
                            "; the reply begins: " + excerpt(reading.response.body, reading.secrets),
                        reading.response.status);
}

// The candidate for the watermark after this page.
std::string candidate(const Reading& reading, const rapidjson::Document& reply, const MappedRecords& mapped) {
    const CursorConfig& config = reading.config.cursor;
    if (config.type == CursorConfig::Type::max_of) {
        return later_mark(reading.cursor.max_json, mapped.max_json);
    }
    if (config.type == CursorConfig::Type::pointer) {
        const rapidjson::Value* value = config.pointer.find(reply);
        return value == nullptr ? reading.cursor.max_json : json_of(*value);
    }
    return {};
}

// The validator of a run's only page. Where more pages may follow, an unchanged first one says nothing about
// them.
void keep_etag(const Reading& reading, std::size_t records, SyncCursor& cursor) {
    const auto etag = header(reading.response.headers, "ETag");
    const long full = full_page(reading.config);
    const bool is_whole = full == 0 || records < static_cast<std::size_t>(full);
    if (etag && !etag->empty() && etag->size() <= kMaxEtagBytes && !reading.cursor.page && is_whole) {
        cursor.etag = *etag;
        cursor.etag_of = url_mark(without_parameters(reading.request.url, secret_parameters(reading.config)));
    }
}

SyncCursor next_cursor(const Reading& reading, const NextPage& next, const std::string& max,
                       TimestampUs started, std::size_t records) {
    SyncCursor cursor;
    cursor.watermark_json = reading.cursor.watermark_json;
    cursor.others = reading.cursor.others;
    if (next.position) {
        cursor.max_json = max;
        cursor.page = next.position;
        cursor.restarted = reading.cursor.restarted;
        return cursor;
    }
    // A full page that leads to itself is a broken pager: what lies behind it has not been seen.
    if (next.stopped.starts_with("repeated") && records > 0) {
        return cursor;
    }
    if (reading.config.cursor.type == CursorConfig::Type::max_of) {
        cursor.watermark_json =
            later_mark(cursor.watermark_json, lagged_mark(max, reading.config.cursor, started));
    } else if (!max.empty()) {
        cursor.watermark_json = max;
    }
    if (next.stopped.empty()) {
        keep_etag(reading, records, cursor);
    }
    return cursor;
}

void add_page_stats(Reading& reading, const MappedRecords& mapped, const NextPage& next, long page) {
    reading.stats.add("records", std::to_string(mapped.signals.size()));
    reading.stats.add("page", std::to_string(page + 1));
    reading.stats.add("bytes", std::to_string(reading.response.body.size()));
    reading.stats.add_count("without_occurred_at", mapped.without_time);
    reading.stats.add_count("without_cursor_field", mapped.without_mark);
    if (!next.stopped.empty()) {
        reading.stats.add("stopped", "\"" + std::string(next.stopped) + "\"");
    }
    add_common_stats(reading);
}

// A page's own URL, as far as it may be stored.
std::optional<Failure> check_position(const Reading& reading, const NextPage& next) {
    if (next.position && redacted(next.position->url, reading.secrets) != next.position->url) {
        return permanent_failure("paging", "the link to the next page holds a secret of this request");
    }
    return std::nullopt;
}

Outcome read_page(Reading& reading) {
    auto body = parse_body(reading);
    if (auto* failure = std::get_if<Failure>(&body)) {
        return std::move(*failure);
    }
    const auto& reply = std::get<rapidjson::Document>(body);
    auto records = find_records(reading, reply);
    if (auto* failure = std::get_if<Failure>(&records)) {
        return std::move(*failure);
    }
    auto mapping = map_records(reading.config, *std::get<const rapidjson::Value*>(records));
    if (auto* failure = std::get_if<Failure>(&mapping)) {
        return std::move(*failure);
    }
    auto& mapped = std::get<MappedRecords>(mapping);
    PagePosition position = reading.cursor.page.value_or(PagePosition());
    position.started = reading.cursor.page ? position.started : reading.request.prepared_at;
    position.written = reading.now;
    const std::string url = without_parameters(reading.request.url, secret_parameters(reading.config));
    auto found =
        next_page(reading.config, {url, reading.response.headers, reply, mapped.signals.size(), position});
    if (auto* failure = std::get_if<Failure>(&found)) {
        return std::move(*failure);
    }
    const auto& next = std::get<NextPage>(found);
    if (auto failure = check_position(reading, next)) {
        return *std::move(failure);
    }
    add_page_stats(reading, mapped, next, position.count);
    Page page;
    page.next_cursor_json = write_cursor(next_cursor(reading, next, candidate(reading, reply, mapped),
                                                     position.started, mapped.signals.size()));
    if (page.next_cursor_json == "{}" && reading.job.cursor_json.empty()) {
        page.next_cursor_json.clear();
    }
    page.has_more = next.position.has_value() && !next.run_ends;
    page.signals = std::move(mapped.signals);
    page.stats_json = reading.stats.json();
    return page;
}

}  // namespace

Outcome read_http_reply(const Job& job, const HttpConfig& config, const SyncCursor& cursor,
                        const ApiRequest& request, const HttpResponse& response, TimestampUs now) {
    Reading reading{job, config, cursor, request, response, now, sent_secrets(config, request), {}, {}};
    if (!response.error_code.empty()) {
        return transport_failure(request, response, reading.secrets);
    }
    reading.limit = read_rate_limit(response.headers, now);
    if (response.status >= 200 && response.status < 300) {
        return read_page(reading);
    }
    if (response.status == 304 && header(request.headers, "If-None-Match")) {
        add_common_stats(reading);
        reading.stats.add("not_modified", "true");
        return Page{{}, {}, false, reading.stats.json()};
    }
    if (is_expired_position(reading)) {
        return restarted_page(reading);
    }
    return status_failure(config, response, reading.limit, reading.secrets);
}

}  // namespace sync_engine

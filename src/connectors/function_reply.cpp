#include "connectors/function_reply.hpp"

#include <string>

#include "connectors/excerpt.hpp"
#include "connectors/http_failure.hpp"
#include "connectors/json_text.hpp"
#include "connectors/retry_after.hpp"

namespace sync_engine {
namespace {

std::string excerpt(std::string_view body) {
    return clean_json(excerpt_of(body)).text;
}

Failure transport_failure(const ApiRequest& request, const HttpResponse& response) {
    if (response.error_code == "body_too_large") {
        return http_failure(FailureKind::permanent, response.error_code,
                            "the reply is larger than " + std::to_string(request.max_body_bytes) + " bytes");
    }
    const bool blocked = response.error_code == "blocked_address";
    return http_failure(blocked ? FailureKind::permanent : FailureKind::transient, response.error_code,
                        response.error_message);
}

FailureKind kind_of_status(long status) {
    if (status == 401 || status == 403) {
        return FailureKind::unauthorized;
    }
    if (status == 429) {
        return FailureKind::rate_limited;
    }
    return status == 408 || status == 425 || status >= 500 ? FailureKind::transient : FailureKind::permanent;
}

// RFC 9457, with two members of ours: retryable (boolean) and retry_after_s (number).
Failure problem(const HttpResponse& response, TimestampUs now) {
    FailureKind kind = kind_of_status(response.status);
    std::optional<double> wait = retry_after_seconds(response.headers, now);
    std::string message = "status " + std::to_string(response.status);
    std::string code = "http_status";
    rapidjson::Document document;
    std::string error;
    if (parse_json(clean_json(response.body).text, document, error) && document.IsObject()) {
        for (const char* key : {"title", "detail"}) {
            if (const rapidjson::Value* text = member(document, key); text != nullptr && is_string(*text)) {
                message += ": " + std::string(excerpt_of(string_view_of(*text)));
            }
        }
        if (const rapidjson::Value* type = member(document, "type"); type != nullptr && is_string(*type)) {
            code = excerpt_of(string_view_of(*type));
        }
        const rapidjson::Value* retryable = member(document, "retryable");
        if (retryable != nullptr && retryable->IsBool() && kind != FailureKind::rate_limited &&
            kind != FailureKind::unauthorized) {
            kind = retryable->GetBool() ? FailureKind::transient : FailureKind::permanent;
        }
        if (const rapidjson::Value* seconds = member(document, "retry_after_s");
            seconds != nullptr && !wait) {
            wait = json_seconds(*seconds);
        }
    } else if (!response.body.empty()) {
        message += ": " + excerpt(response.body);
    }
    return http_failure(kind, code, message, response.status, wait);
}

// What is wrong with a signal; empty when nothing is.
std::string signal_fault(const rapidjson::Value& signal) {
    if (!signal.IsObject()) {
        return " is a JSON " + std::string(json_type_name(signal)) + ", not an object";
    }
    const rapidjson::Value* kind = member(signal, "kind");
    if (kind != nullptr && (!is_string(*kind) || string_view_of(*kind).empty())) {
        return ".kind is not a non-empty string";
    }
    const rapidjson::Value* at = member(signal, "occurred_at");
    if (at != nullptr && (!is_string(*at) || !parse_utc(string_view_of(*at)))) {
        return ".occurred_at is not a time such as 2026-03-01T12:15:00Z";
    }
    const rapidjson::Value* key = member(signal, "dedupe_key");
    if (key != nullptr && !is_string(*key) && !is_number(*key)) {
        return ".dedupe_key is not a string";
    }
    return {};
}

std::optional<Failure> read_signals(const rapidjson::Value& document, Page& page) {
    const rapidjson::Value* signals = member(document, "signals");
    if (signals == nullptr) {
        return std::nullopt;
    }
    if (!signals->IsArray()) {
        return http_failure(
            FailureKind::permanent, "bad_reply",
            "$.signals is a JSON " + std::string(json_type_name(*signals)) + ", not an array");
    }
    for (rapidjson::SizeType i = 0; i < signals->Size(); ++i) {
        const std::string fault = signal_fault((*signals)[i]);
        if (!fault.empty()) {
            return http_failure(FailureKind::permanent, "bad_reply",
                                "$.signals[" + std::to_string(i) + "]" + fault);
        }
        page.signals.push_back(json_of((*signals)[i]));
    }
    return std::nullopt;
}

Outcome read_page(const rapidjson::Document& document, std::size_t replaced) {
    Page page;
    if (auto fault = read_signals(document, page)) {
        return *std::move(fault);
    }
    if (const rapidjson::Value* cursor = member(document, "next_cursor")) {
        page.next_cursor_json = json_of(*cursor);
    }
    if (const rapidjson::Value* more = member(document, "has_more")) {
        if (!more->IsBool()) {
            return http_failure(FailureKind::permanent, "bad_reply", "$.has_more is not true or false");
        }
        page.has_more = more->GetBool();
    }
    if (page.has_more && page.next_cursor_json.empty()) {
        return http_failure(FailureKind::permanent, "bad_reply",
                            "$.has_more is true and $.next_cursor is missing");
    }
    page.stats_json = "{\"signals\":" + std::to_string(page.signals.size());
    if (replaced > 0) {
        page.stats_json += ",\"replaced_characters\":" + std::to_string(replaced);
    }
    if (const rapidjson::Value* limit = member(document, "rate_limit")) {
        page.stats_json += ",\"rate_limit\":" + json_of(*limit);
    }
    page.stats_json += "}";
    return page;
}

}  // namespace

Outcome read_function_reply(const ApiRequest& request, const HttpResponse& response, TimestampUs now) {
    if (!response.error_code.empty()) {
        return transport_failure(request, response);
    }
    if (response.status < 200 || response.status > 299) {
        return problem(response, now);
    }
    const CleanJson clean = clean_json(response.body);
    rapidjson::Document document;
    std::string error;
    if (!parse_json(clean.text, document, error) || !document.IsObject()) {
        return http_failure(FailureKind::transient, "not_json",
                            "the reply is not a JSON object" + (error.empty() ? "" : " (" + error + ")") +
                                ": " + excerpt(response.body),
                            response.status);
    }
    return read_page(document, clean.replaced);
}

}  // namespace sync_engine

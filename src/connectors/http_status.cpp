#include "connectors/http_status.hpp"

#include <algorithm>
#include <array>

#include "connectors/ascii.hpp"
#include "connectors/http_failure.hpp"
#include "connectors/json_text.hpp"
#include "connectors/retry_after.hpp"

namespace sync_engine {
namespace {

// Where a server says nothing, a minute is what most documentations ask for at least.
constexpr double kUnknownLimitSeconds = 60;

// What the reply itself says: a text that JSON APIs put under one of these names, else how it begins.
std::string reason(std::string_view body, const std::vector<std::string>& secrets) {
    rapidjson::Document document;
    std::string error;
    if (parse_json(clean_json(body).text, document, error)) {
        const rapidjson::Value* scope = member(document, "error");
        for (const rapidjson::Value* object : {static_cast<const rapidjson::Value*>(&document), scope}) {
            for (const char* name : {"message", "detail", "title", "error_description", "error"}) {
                const rapidjson::Value* text = object == nullptr ? nullptr : member(*object, name);
                if (text != nullptr && is_string(*text)) {
                    return excerpt(string_view_of(*text), secrets);
                }
            }
        }
    }
    return excerpt(body, secrets);
}

bool mentions_rate_limit(std::string_view text) {
    constexpr std::string_view phrase = "rate limit";
    return std::search(text.begin(), text.end(), phrase.begin(), phrase.end(),
                       [](char a, char b) { return ascii_lower(a) == b; }) != text.end();
}

FailureKind kind_of(const HttpConfig& config, long status, const RateLimit& limit, std::string_view why) {
    if (const auto mapped = config.status_map.find(status); mapped != config.status_map.end()) {
        return mapped->second;
    }
    if (status == 429) {
        return FailureKind::rate_limited;
    }
    if (status == 403) {
        const bool limited = limit.exhausted() || limit.retry_after_seconds || mentions_rate_limit(why);
        return limited ? FailureKind::rate_limited : FailureKind::unauthorized;
    }
    if (status == 401) {
        return FailureKind::unauthorized;
    }
    return status == 408 || status == 425 || status >= 500 ? FailureKind::transient : FailureKind::permanent;
}

// The reset of a budget that is not used up says nothing about another limit that was hit.
double limited_seconds(const RateLimit& limit) {
    if (limit.retry_after_seconds) {
        return *limit.retry_after_seconds;
    }
    return limit.exhausted() || !limit.remaining ? limit.reset_seconds.value_or(kUnknownLimitSeconds)
                                                 : kUnknownLimitSeconds;
}

}  // namespace

Failure transport_failure(const ApiRequest& request, const HttpResponse& response,
                          const std::vector<std::string>& secrets) {
    const std::string message = redacted(response.error_message, secrets);
    if (response.error_code == "blocked_address") {
        return permanent_failure(response.error_code, message);  // the same text as for a closed port
    }
    if (response.error_code == "body_too_large") {
        const std::string cap =
            "the reply is longer than " + std::to_string(request.max_body_bytes) + " bytes";
        return permanent_failure(response.error_code,
                                 (message.empty() ? cap : message) + " (see max_body_bytes)");
    }
    return http_failure(FailureKind::transient, response.error_code,
                        message.empty() ? "no reply: " + response.error_code : message);
}

Failure status_failure(const HttpConfig& config, const HttpResponse& response, const RateLimit& limit,
                       const std::vector<std::string>& secrets) {
    const std::string why = reason(response.body, secrets);
    const FailureKind kind = kind_of(config, response.status, limit, why);
    std::string message = "status " + std::to_string(response.status);
    if (response.status < 400) {
        const auto location = header(response.headers, "Location");
        message += ": redirects are not followed" +
                   (location ? "; this one leads to " + excerpt(*location, secrets) : std::string());
    } else if (!why.empty()) {
        message += ": " + why;
    }
    std::optional<double> wait = limit.retry_after_seconds;
    if (kind == FailureKind::rate_limited) {
        wait = limited_seconds(limit);
    }
    const std::string_view code = kind == FailureKind::rate_limited   ? "rate_limited"
                                  : kind == FailureKind::unauthorized ? "unauthorized"
                                                                      : "http_status";
    return http_failure(kind, code, message, response.status, wait);
}

}  // namespace sync_engine

#include "connectors/http_failure.hpp"

#include "connectors/excerpt.hpp"
#include "connectors/json_text.hpp"
#include "connectors/template.hpp"

namespace sync_engine {
namespace {

constexpr std::size_t kSearchedBytes = 64U << 10U;
constexpr std::size_t kShortestSecret = 4;
constexpr std::string_view kRedacted = "[redacted]";

void replace_all(std::string& text, std::string_view what) {
    for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at)) {
        text.replace(at, what.size(), kRedacted);
        at += kRedacted.size();
    }
}

}  // namespace

Failure http_failure(FailureKind kind, std::string_view code, std::string_view message, long status,
                     std::optional<double> retry_after_seconds) {
    std::string error = "{\"code\":";
    append_json_text(error, clean_json(code).text);
    error += ",\"message\":";
    append_json_text(error, clean_json(message).text);
    if (status != 0) {
        error += ",\"status\":" + std::to_string(status);
    }
    return {kind, error + "}", retry_after_seconds};
}

std::string redacted(std::string text, const std::vector<std::string>& secrets) {
    for (const std::string& secret : secrets) {
        if (secret.size() >= kShortestSecret) {
            replace_all(text, secret);
            replace_all(text, percent_encoded(secret));
        }
    }
    return text;
}

std::string excerpt(std::string_view body, const std::vector<std::string>& secrets) {
    // Redacted before it is cut, so that no piece of a secret is left at the end.
    return std::string(excerpt_of(redacted(std::string(body.substr(0, kSearchedBytes)), secrets)));
}

}  // namespace sync_engine

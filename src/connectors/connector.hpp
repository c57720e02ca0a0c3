// What the executor asks of a connector: one page of one job is one HTTP request. A connector does no I/O and
// knows no clock; it says what to send and reads what came.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "core/time.hpp"

namespace sync_engine {

// A claimed job, as sync.claim_jobs hands it out. JSON texts are UTF-8; empty means absent.
struct Job {
    std::int64_t job_id = 0;
    std::int64_t connection_id = 0;
    std::string tenant_id;
    std::string provider_slug;
    std::string job_type;
    std::string connector;
    int attempts = 0;
    std::string cursor_json;
    std::string input_json;
    std::string config_json;  // provider's and connection's, merged; "sync_engine" is the reserved key
};

enum class FailureKind { transient, rate_limited, unauthorized, permanent };

// The most that a configuration may ask for, for one request.
inline constexpr double kMaxTimeoutSeconds = 3600;

// The name that sync.fail_job takes.
std::string_view failure_kind_name(FailureKind kind);

struct Failure {
    FailureKind kind = FailureKind::transient;
    std::string error_json;  // an object with "message" and "code"; never holds a secret
    std::optional<double> retry_after_seconds;
};

struct Page {
    std::vector<std::string> signals;  // JSON object texts: {"kind", "occurred_at", "dedupe_key", "payload"}
    std::string next_cursor_json;      // empty: leave the cursor as it is
    bool has_more = false;             // a follow-up job fetches the next page with next_cursor_json
    std::string stats_json = "{}";
};

using Headers = std::vector<std::pair<std::string, std::string>>;

struct ApiRequest {
    std::string method = "GET";
    std::string url;
    Headers headers;
    std::string body;
    long timeout_ms = 60'000;
    long connect_timeout_ms = 10'000;
    std::size_t max_body_bytes = 32U << 20U;
    // A longer reply is no error: its beginning is kept, and the rest is not waited for.
    bool beginning_suffices = false;
    TimestampUs prepared_at = 0;  // the time that prepare was given
};

struct HttpResponse {
    long status = 0;
    Headers headers;  // names as received
    std::string body;
    std::string error_code;  // empty: a reply came. Else timeout, connect, blocked_address, body_too_large,
                             // tls, other
    std::string error_message;
};

// Secrets that the executor's own configuration allows. The host is the one that the secret would be sent to.
class SecretResolver {
  public:
    virtual ~SecretResolver() = default;
    // Nothing when the name is not allowed for that host or has no value.
    virtual std::optional<std::string> env(std::string_view name, std::string_view host) = 0;
    virtual std::optional<std::string> file(std::string_view name, std::string_view host) = 0;
};

struct ConfigError {
    std::string path;  // JSON path such as $.paging.type
    std::string message;
};

using Step = std::variant<ApiRequest, Page, Failure>;
using Outcome = std::variant<Page, Failure>;

class Connector {
  public:
    virtual ~Connector() = default;
    // What to send for the job, or at once what it came to. `now` is the time of the claim.
    virtual Step prepare(const Job& job, SecretResolver& secrets, TimestampUs now) const = 0;
    // What the reply means. `request` is what prepare returned.
    virtual Outcome interpret(const Job& job, const ApiRequest& request, const HttpResponse& response,
                              TimestampUs now) const = 0;
    // What is wrong with a configuration, empty when nothing is.
    virtual std::vector<ConfigError> validate(std::string_view config_json) const = 0;
};

// The connector of that name; null when there is none. Lives as long as the process.
const Connector* find_connector(std::string_view name);

// "function, http, noop": for messages.
std::string_view connector_names();

}  // namespace sync_engine

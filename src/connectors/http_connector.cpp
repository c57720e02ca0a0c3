#include "connectors/http_connector.hpp"

#include <exception>

#include "connectors/http_config.hpp"
#include "connectors/http_failure.hpp"
#include "connectors/http_reply.hpp"
#include "connectors/http_request.hpp"

namespace sync_engine {
namespace {

// Only memory can run out in here, and that may pass.
Failure internal_failure() {
    return http_failure(FailureKind::transient, "internal", "the connector could not work on the job");
}

}  // namespace

Step HttpConnector::prepare(const Job& job, SecretResolver& secrets, TimestampUs now) const try {
    std::vector<ConfigError> errors;
    const HttpConfig config = read_http_config(job.config_json, errors);
    if (auto failure = config_failure(config, errors)) {
        return *std::move(failure);
    }
    auto cursor = current_cursor(job, config, now);
    if (auto* failure = std::get_if<Failure>(&cursor)) {
        return std::move(*failure);
    }
    auto request = build_request(job, config, std::get<SyncCursor>(cursor), secrets, now);
    if (auto* failure = std::get_if<Failure>(&request)) {
        return std::move(*failure);
    }
    return std::move(std::get<ApiRequest>(request));
} catch (const std::exception&) {
    return internal_failure();
}

Outcome HttpConnector::interpret(const Job& job, const ApiRequest& request, const HttpResponse& response,
                                 TimestampUs now) const try {
    std::vector<ConfigError> errors;
    const HttpConfig config = read_http_config(job.config_json, errors);
    if (auto failure = config_failure(config, errors)) {
        return *std::move(failure);
    }
    // As it was when the request was made: a position may grow too old while the reply is under way.
    auto cursor = current_cursor(job, config, request.prepared_at);
    if (auto* failure = std::get_if<Failure>(&cursor)) {
        return std::move(*failure);
    }
    return read_http_reply(job, config, std::get<SyncCursor>(cursor), request, response, now);
} catch (const std::exception&) {
    return internal_failure();
}

std::vector<ConfigError> HttpConnector::validate(std::string_view config_json) const {
    std::vector<ConfigError> errors;
    read_http_config(config_json, errors);
    return errors;
}

const Connector* http_connector() {
    static const HttpConnector connector;
    return &connector;
}

}  // namespace sync_engine

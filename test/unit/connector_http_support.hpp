// Jobs, replies and secrets for the tests of the `http` connector.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "connectors/http_connector.hpp"
#include "connectors/json_text.hpp"
#include "core/time.hpp"

namespace sync_engine::http_test {

inline const TimestampUs kNow = *parse_utc("2026-03-01T12:00:00Z");

// Secrets by name; remembers which hosts asked.
class FakeSecrets : public SecretResolver {
  public:
    std::map<std::string, std::string, std::less<>> env_values;
    std::map<std::string, std::string, std::less<>> files;
    std::vector<std::string> hosts;

    std::optional<std::string> env(std::string_view name, std::string_view host) override {
        return find(env_values, name, host);
    }
    std::optional<std::string> file(std::string_view name, std::string_view host) override {
        return find(files, name, host);
    }

  private:
    std::optional<std::string> find(const std::map<std::string, std::string, std::less<>>& values,
                                    std::string_view name, std::string_view host) {
        hosts.emplace_back(host);
        const auto found = values.find(name);
        return found == values.end() ? std::nullopt : std::optional(found->second);
    }
};

// A connection's state between jobs, as the database keeps it.
struct Bench {
    Job job;
    FakeSecrets secrets;
    TimestampUs now = kNow;

    explicit Bench(std::string config, std::string cursor = "") {
        job.job_id = 7;
        job.connection_id = 3;
        job.connector = "http";
        job.job_type = "incremental";
        job.config_json = std::move(config);
        job.cursor_json = std::move(cursor);
    }

    Step step() { return http_connector()->prepare(job, secrets, now); }

    ApiRequest request() {
        Step result = step();
        if (auto* failure = std::get_if<Failure>(&result)) {
            ADD_FAILURE() << failure->error_json;
        }
        return std::get<ApiRequest>(result);
    }

    Failure refused() { return std::get<Failure>(step()); }

    Outcome reply(const HttpResponse& response) {
        return http_connector()->interpret(job, request(), response, now);
    }
    Outcome reply(std::string body, Headers headers = {}, long status = 200) {
        return reply(HttpResponse{status, std::move(headers), std::move(body), "", ""});
    }

    Page page(std::string body, Headers headers = {}, long status = 200) {
        Outcome result = reply(std::move(body), std::move(headers), status);
        if (auto* failure = std::get_if<Failure>(&result)) {
            ADD_FAILURE() << failure->error_json;
        }
        return std::get<Page>(result);
    }

    // Like page, and the cursor is kept for the next job.
    Page land(std::string body, Headers headers = {}, long status = 200) {
        Page result = page(std::move(body), std::move(headers), status);
        if (!result.next_cursor_json.empty()) {
            job.cursor_json = result.next_cursor_json;
        }
        return result;
    }

    Failure failure(std::string body, Headers headers = {}, long status = 200) {
        return std::get<Failure>(reply(std::move(body), std::move(headers), status));
    }
};

inline std::string header_of(const ApiRequest& request, std::string_view name) {
    for (const auto& [key, value] : request.headers) {
        if (key == name) {
            return value;
        }
    }
    return "(none)";
}

// The part of a JSON text at a top-level key, as JSON; "" when there is none.
inline std::string part(const std::string& json, std::string_view key) {
    rapidjson::Document document;
    std::string error;
    EXPECT_TRUE(parse_json(json, document, error)) << json << error;
    const rapidjson::Value* value = member(document, key);
    return value == nullptr ? "" : json_of(*value);
}

inline bool has(const std::string& text, std::string_view what) {
    return text.find(what) != std::string::npos;
}

}  // namespace sync_engine::http_test

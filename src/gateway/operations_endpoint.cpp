#include "gateway/operations_endpoint.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <utility>

#include <openssl/crypto.h>

#include "gateway/bearer_token.hpp"
#include "gateway/problem.hpp"
#include "process/json_string.hpp"
#include "process/pg_values.hpp"

namespace sync_engine {

namespace asio = boost::asio;

namespace {

constexpr double kFoundSeconds = 1;
constexpr std::string_view kUnreachable = "the database cannot be reached";

struct Version {
    int major = 0;
    int minor = 0;
};

std::optional<Version> version_of(std::string_view text) {
    Version version;
    const char* end = text.data() + text.size();
    const auto major = std::from_chars(text.data(), end, version.major);
    if (major.ec != std::errc() || major.ptr == end || *major.ptr != '.') {
        return std::nullopt;
    }
    const auto minor = std::from_chars(major.ptr + 1, end, version.minor);
    return minor.ec == std::errc() ? std::optional(version) : std::nullopt;
}

HttpReply text_reply(unsigned status, std::string type, std::string body) {
    HttpReply reply;
    reply.status = status;
    reply.headers.emplace_back("Content-Type", std::move(type));
    reply.headers.emplace_back("Cache-Control", "no-store");
    reply.body = std::move(body);
    return reply;
}

std::string fault_of_status(const PgOutcome& outcome) {
    if (outcome.status != PgOutcome::Status::failed) {
        const bool is_known = outcome.message == kServerIsStandby || outcome.message == kServerIsReadOnly;
        return is_known ? outcome.message : std::string(kUnreachable);
    }
    if (outcome.sqlstate == "42883" || outcome.sqlstate == "3F000") {
        return "the database has no sync_engine that this gateway works with";
    }
    return outcome.sqlstate == "42501" ? "the gateway's role is not a member of sync_gateway"
                                       : "the database answers with an error";
}

std::vector<AddressBlock> private_addresses() {
    std::vector<AddressBlock> blocks;
    for (const std::string_view block :
         {"127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1", "fc00::/7"}) {
        blocks.push_back(parse_address_block(block).value());
    }
    return blocks;
}

std::vector<PgStatement> statement(std::string sql) {
    std::vector<PgStatement> pipeline;
    pipeline.push_back({std::move(sql), {}});
    return pipeline;
}

}  // namespace

bool is_served(std::string_view gateway, std::string_view extension) {
    const auto own = version_of(gateway);
    const auto theirs = version_of(extension);
    return own && theirs && own->major == theirs->major && own->minor <= theirs->minor;
}

OperationsEndpoint::OperationsEndpoint(PgPool& pool, const LiveHub& hub, Logger& log, ServiceMetrics& metrics,
                                       const prometheus::Registry& registry, OperationsOptions options)
    : pool_(pool),
      hub_(hub),
      log_(log),
      metrics_(metrics),
      registry_(registry),
      options_(std::move(options)),
      scrapers_by_default_(options_.scrapers.empty()) {
    if (scrapers_by_default_) {
        options_.scrapers = private_addresses();
    }
}

asio::awaitable<HttpReply> OperationsEndpoint::handle(HttpRequest request) {
    if (request.method != "GET" && request.method != "HEAD") {
        Problem problem;
        problem.status = 405;
        problem.code = "method_not_allowed";
        HttpReply reply = problem_reply(problem, request.request_id);
        reply.headers.emplace_back("Allow", "GET, HEAD");
        co_return reply;
    }
    if (request.path == "/healthz") {
        co_return text_reply(200, "application/json", "{\"status\":\"ok\"}\n");
    }
    if (request.path == "/readyz") {
        co_return co_await readiness();
    }
    if (!may_scrape(request)) {
        co_return not_for_everybody(request);
    }
    if (request.path == "/health") {
        co_return co_await health();
    }
    co_return co_await metrics();
}

asio::awaitable<HttpReply> OperationsEndpoint::readiness() {
    if (!draining_ && std::chrono::steady_clock::now() >= found_until_) {
        std::vector<std::string> found = co_await faults();
        for (const std::string& fault : found) {
            if (std::ranges::find(found_, fault) == found_.end()) {
                log_.warn("not ready", {{"reason", fault}});
            }
        }
        found_ = std::move(found);
        found_until_ = seconds_from_now(kFoundSeconds);
    }
    std::vector<std::string> reasons = found_;
    if (draining_) {
        reasons.assign(1, "the gateway stops");
    }
    std::string body = reasons.empty() ? "{\"status\":\"ready\"" : "{\"status\":\"not ready\",\"reasons\":[";
    for (const std::string& reason : reasons) {
        body += &reason == &reasons.front() ? "" : ",";
        append_json_string(body, reason);
    }
    body += reasons.empty() ? "}\n" : "]}\n";
    co_return text_reply(reasons.empty() ? 200 : 503, "application/json", std::move(body));
}

asio::awaitable<std::vector<std::string>> OperationsEndpoint::faults() {
    std::vector<std::string> faults;
    const PgOutcome status =
        co_await pool_.run(statement("SELECT version, isolated, confined FROM sync.gateway_status()"));
    if (status.status == PgOutcome::Status::overloaded) {
        co_return faults_when_busy();
    }
    if (!status.done()) {
        faults.push_back(fault_of_status(status));
        co_return faults;
    }
    const Row row = only_row(status.result(), 3);
    if (!is_served(SYNC_ENGINE_VERSION, row.text(0))) {
        faults.push_back("the database has sync_engine " + row.text(0) +
                         ", which is not what this gateway, " + SYNC_ENGINE_VERSION + ", works with");
    }
    if (!row.boolean(2)) {
        faults.emplace_back(
            "the gateway's role is not confined to one tenant: it is a superuser, owns the tables or is of "
            "the staff");
    }
    if (!row.boolean(1)) {
        faults.emplace_back("tenants are not isolated: sync.enable_tenant_isolation() has not been called");
        co_return faults;
    }
    const PgOutcome rows = co_await pool_.run(statement("SELECT EXISTS (SELECT FROM sync.connections)"));
    if (rows.status == PgOutcome::Status::overloaded) {
        co_return faults_when_busy();
    }
    if (!rows.done()) {
        faults.push_back(fault_of_status(rows));
    } else if (only_row(rows.result(), 1).boolean(0)) {
        faults.emplace_back("the gateway's role sees rows without a token");
    }
    co_return faults;
}

// There are connections, all of them busy: the database is reached, and what was found of it before still
// holds. A gateway that much is asked of is not to be left out for that: what it has to do would fall to the
// others.
std::vector<std::string> OperationsEndpoint::faults_when_busy() const {
    std::vector<std::string> faults = found_;
    std::erase_if(faults, [](const std::string& fault) {
        return fault == kUnreachable || fault == kServerIsStandby || fault == kServerIsReadOnly;
    });
    return faults;
}

bool OperationsEndpoint::may_scrape(const HttpRequest& request) const {
    if (!options_.metrics_token.empty()) {
        const std::string* header = request.header("authorization");
        const std::string_view given = header == nullptr ? "" : bearer_token(*header);
        return given.size() == options_.metrics_token.size() &&
               CRYPTO_memcmp(given.data(), options_.metrics_token.data(), given.size()) == 0;
    }
    // A proxy on this host, which nobody has told us of, would make them everybody's.
    if (scrapers_by_default_ && request.hides_client) {
        return false;
    }
    const auto address = parse_ip_address(request.client);
    return address && std::ranges::any_of(options_.scrapers, [&](const AddressBlock& block) {
               return block.contains(effective_address(*address));
           });
}

HttpReply OperationsEndpoint::not_for_everybody(const HttpRequest& request) const {
    Problem problem;
    problem.status = options_.metrics_token.empty() ? 403 : 401;
    problem.code = options_.metrics_token.empty() ? "forbidden" : "unauthenticated";
    problem.detail = "this is not for everybody";
    HttpReply reply = problem_reply(problem, request.request_id);
    if (problem.status == 401) {
        reply.headers.emplace_back("WWW-Authenticate", "Bearer");
    }
    return reply;
}

asio::awaitable<HttpReply> OperationsEndpoint::health() {
    if (std::chrono::steady_clock::now() >= health_until_) {
        const PgOutcome outcome =
            co_await pool_.run(statement("SELECT verdict, body FROM sync.gateway_health()"));
        if (outcome.done()) {
            const Row row = only_row(outcome.result(), 2);
            health_ =
                text_reply(row.text(0) == "critical" ? 503 : 200, "application/json", row.text(1) + "\n");
        } else {
            std::string body =
                R"({"verdict":"critical","checks":[{"check":"database","verdict":"critical","detail":)";
            append_json_string(body, fault_of_status(outcome));
            health_ = text_reply(503, "application/json", body + ",\"remedy\":null}]}\n");
        }
        health_until_ = seconds_from_now(kFoundSeconds);
    }
    co_return health_;
}

asio::awaitable<HttpReply> OperationsEndpoint::metrics() {
    // Ends with "# EOF"; without it the gateway's own are told all the same.
    const PgOutcome outcome = co_await pool_.run(statement("SELECT sync.gateway_metrics()"));
    const std::string of_database = outcome.done() ? only_row(outcome.result(), 1).text(0) : "# EOF\n";
    metrics_.pool(pool_.figures());
    metrics_.watched(hub_.tenants());
    co_return text_reply(200, "application/openmetrics-text; version=1.0.0; charset=utf-8",
                         open_metrics_text(registry_.Collect()) + of_database);
}

}  // namespace sync_engine

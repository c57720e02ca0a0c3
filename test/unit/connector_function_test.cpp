// The function connector's requests and configuration.
#include "connectors/function_connector.hpp"

#include <string>

#include <gtest/gtest.h>

#include "unit/connector_support.hpp"

namespace sync_engine {
namespace {

using namespace std::string_literals;

const TimestampUs kNow = *parse_utc("2026-03-01T12:00:00Z");

Job job_with(std::string config) {
    Job job;
    job.job_id = 42;
    job.connection_id = 7;
    job.tenant_id = "acme";
    job.provider_slug = "shop";
    job.job_type = "incremental";
    job.attempts = 2;
    job.config_json = std::move(config);
    return job;
}

ListedSecrets known_secrets() {
    return {"fn.example", {{"env TOKEN", "s3cr3t-t0ken"}, {"file key", "s3cr3t-k3y"}}};
}

Step prepare(const Job& job) {
    ListedSecrets secrets = known_secrets();
    return function_connector()->prepare(job, secrets, kNow);
}

Step prepare(std::string config) {
    return prepare(job_with(std::move(config)));
}

ApiRequest request_of(const Job& job) {
    Step step = prepare(job);
    EXPECT_EQ(summary(step), "request");
    return std::get<ApiRequest>(std::move(step));
}

std::string sent_header(const ApiRequest& request, std::string_view name) {
    std::string values;
    for (const auto& [key, value] : request.headers) {
        values += key == name ? "[" + value + "]" : "";
    }
    return values;
}

TEST(FunctionRequest, SaysWhatIsAskedFor) {
    Job job = job_with(
        R"({"url":"https://fn.example/sync?x=1","limit":50,"timeout_seconds":2.5,"shop":"eu","n":2500.2500})");
    job.cursor_json = R"({"after":"x"})";
    job.input_json = "[1]";
    const ApiRequest request = request_of(job);
    EXPECT_EQ(request.method, "POST");
    EXPECT_EQ(request.url, "https://fn.example/sync?x=1");
    EXPECT_EQ(request.timeout_ms, 2500);
    EXPECT_EQ(sent_header(request, "Content-Type"), "[application/json]");
    EXPECT_EQ(sent_header(request, "Idempotency-Key"), "[42/3]");
    EXPECT_EQ(sent_header(request, "Authorization"), "");
    EXPECT_EQ(
        request.body,
        R"({"cursor":{"after":"x"},"input":[1],"config":{"limit":50,"timeout_seconds":2.5,"shop":"eu","n":2500.2500},)"
        R"("connection":{"id":7,"tenant_id":"acme","provider":"shop"},)"
        R"("job":{"id":42,"type":"incremental","attempt":3},"limit":50})");
}

TEST(FunctionRequest, HasNullsAndDefaultsForWhatIsMissing) {
    const ApiRequest request = request_of(job_with(R"({"url":"http://fn.example"})"));
    EXPECT_EQ(json_at(request.body, {"cursor"}), "");
    EXPECT_NE(request.body.find(R"("cursor":null,"input":null,"config":{})"), std::string::npos);
    EXPECT_EQ(json_at(request.body, {"limit"}), "1000");
    EXPECT_EQ(request.timeout_ms, 60'000);
}

TEST(FunctionRequest, GivesEveryAttemptAKeyOfItsOwn) {
    Job job = job_with(R"({"url":"http://fn.example"})");
    const std::string first = sent_header(request_of(job), "Idempotency-Key");
    EXPECT_EQ(sent_header(request_of(job), "Idempotency-Key"), first);
    job.attempts = 3;
    EXPECT_NE(sent_header(request_of(job), "Idempotency-Key"), first);
}

TEST(FunctionRequest, QuotesNamesOfTenants) {
    Job job = job_with(R"({"url":"http://fn.example","a\"b":"\n"})");
    job.tenant_id = "a\"},\"limit\":9,\"x\":{\"\n\xC3\xA9";
    job.job_type = "web\\hook";
    const ApiRequest request = request_of(job);
    EXPECT_EQ(json_at(request.body, {"connection", "tenant_id"}), job.tenant_id);
    EXPECT_EQ(json_at(request.body, {"job", "type"}), "web\\hook");
    EXPECT_EQ(json_at(request.body, {"config", "a\"b"}), "\n");
    EXPECT_EQ(json_at(request.body, {"limit"}), "1000");
}

TEST(FunctionRequest, KeepsSecretsOutOfTheBody) {
    const ApiRequest request =
        request_of(job_with(R"({"url":"https://fn.example/","auth":{"type":"bearer","token":{"$env":"TOKEN"}},
        "headers":{"X-Key":{"$file":"key"},"X-Plain":"plain-value"},"sync_engine":{"origin":null,"provider_has_secret":true},
        "other":{"$env":"TOKEN"}})"));
    EXPECT_EQ(sent_header(request, "Authorization"), "[Bearer s3cr3t-t0ken]");
    EXPECT_EQ(sent_header(request, "X-Key"), "[s3cr3t-k3y]");
    EXPECT_EQ(sent_header(request, "X-Plain"), "[plain-value]");
    EXPECT_EQ(request.body.find("s3cr3t"), std::string::npos);
    EXPECT_EQ(request.url.find("s3cr3t"), std::string::npos);
    // References elsewhere are the function's business and stay references.
    EXPECT_NE(request.body.find(R"("config":{"other":{"$env":"TOKEN"}})"), std::string::npos) << request.body;
}

TEST(FunctionRequest, LeavesOutWhatIsTheConnectorsOwn) {
    const ApiRequest request = request_of(job_with(
        R"({"url":"https://fn.example/","auth":{"type":"bearer","token":"t"},"headers":{},"sync_engine":{"allowed_hosts":[]},"deep":{"url":1,"auth":2}})"));
    EXPECT_NE(request.body.find(R"("config":{"deep":{"url":1,"auth":2}})"), std::string::npos)
        << request.body;
}

TEST(FunctionRequest, ResolvesSecretsForTheHostItCalls) {
    ListedSecrets secrets = known_secrets();
    const Job job =
        job_with(R"({"url":"https://FN.example:8443/","auth":{"type":"bearer","token":{"$env":"TOKEN"}}})");
    EXPECT_EQ(summary(function_connector()->prepare(job, secrets, kNow)), "request");
    EXPECT_EQ(secrets.asked, std::vector<std::string>{"env TOKEN for fn.example"});
}

TEST(FunctionRequest, NamesASecretThatDoesNotResolve) {
    EXPECT_EQ(summary(prepare(
                  R"({"url":"https://fn.example","auth":{"type":"bearer","token":{"$env":"PGPASSWORD"}}})")),
              "permanent secret: secret reference $env PGPASSWORD does not resolve: it is not allowed for "
              "this host "
              "or has no value");
    EXPECT_EQ(
        summary(prepare(R"({"url":"https://fn.example","headers":{"A":{"$file":"../etc/passwd"}}})")),
        "permanent secret: secret reference $file ../etc/passwd does not resolve: it is not allowed for this "
        "host or has no value");
    // The same name at another host.
    const Step elsewhere =
        prepare(R"({"url":"https://evil.example","auth":{"type":"bearer","token":{"$env":"TOKEN"}}})");
    EXPECT_TRUE(summary(elsewhere).starts_with("permanent secret: secret reference $env TOKEN"));
    EXPECT_EQ(std::get<Failure>(elsewhere).error_json.find("s3cr3t"), std::string::npos);
}

TEST(FunctionRequest, SendsNothingThatWasRefused) {
    ListedSecrets secrets = known_secrets();
    const Job job = job_with(
        R"({"url":"https://fn.example","auth":{"type":"bearer","token":{"$env":"TOKEN"}},"sync_engine":{"refused":"the connection changes $.url"}})");
    EXPECT_EQ(summary(function_connector()->prepare(job, secrets, kNow)),
              "permanent refused: the connection changes $.url");
    EXPECT_TRUE(secrets.asked.empty());
}

TEST(FunctionRequest, LetsNoHeaderBreakOut) {
    for (const auto* headers :
         {R"({"X":"a\r\nEvil: 1"})", R"({"X":"a\nb"})", R"({"X":"a\u0000b"})", R"({"X\r\nEvil":"1"})",
          R"({"X:":"1"})", R"({"X Y":"1"})", R"({"":"1"})", R"({"\u00e9":"1"})"}) {
        const Step step = prepare(std::string(R"({"url":"https://fn.example","headers":)") + headers + "}");
        EXPECT_TRUE(summary(step).starts_with("permanent bad_config: configuration: $.headers."))
            << summary(step);
    }
    for (const auto* name : {"Host", "HOST", "content-length", "Transfer-Encoding", "Connection",
                             "Content-Type", "idempotency-key"}) {
        EXPECT_EQ(summary(prepare(std::string(R"({"url":"https://fn.example","headers":{")") + name +
                                  R"(":"1"}})")),
                  "permanent bad_config: configuration: $.headers." + std::string(name) +
                      ": this header cannot be set");
    }
    for (const auto& value : {"two\r\nlines"s, "two\nlines"s, "nul\0byte"s}) {
        ListedSecrets secrets("fn.example", {{"file key", value}});
        const Step step = function_connector()->prepare(
            job_with(R"({"url":"https://fn.example","headers":{"X-Key":{"$file":"key"}}})"), secrets, kNow);
        EXPECT_EQ(summary(step), "permanent bad_config: header X-Key would hold a line break");
        EXPECT_EQ(std::get<Failure>(step).error_json.find("two"), std::string::npos);
    }
}

TEST(FunctionConfig, NamesWhatIsWrongByItsPath) {
    const auto faults = [](std::string_view config) {
        return listed(function_connector()->validate(config));
    };
    const auto* url = "$.url: expected the http or https URL to POST to";
    EXPECT_EQ(
        faults(
            R"({"url":"https://fn.example","limit":1,"timeout_seconds":3600,"headers":{"A":"b"},"anything":[]})"),
        "");
    for (const auto* config :
         {"", "{}", R"({"url":null})", R"({"url":7})", R"({"url":["http://a"]})", R"({"url":"ftp://a"})",
          R"({"url":"http://user:pw@a/"})", R"({"url":"a.example"})", R"({"url":"http://a b/"})"}) {
        EXPECT_EQ(faults(config), url) << config;
    }
    EXPECT_EQ(faults("[]"), "$: expected an object");
    EXPECT_TRUE(faults("{\"url\"").starts_with("$: "));
    for (const auto* limit : {"0", "100001", "-1", "\"5\"", "true", "1e400", "[]"}) {
        EXPECT_EQ(faults(std::string(R"({"url":"http://a","limit":)") + limit + "}"),
                  "$.limit: expected a number from 1 to 100000");
    }
    EXPECT_EQ(faults(R"({"url":"http://a","timeout_seconds":0.5})"),
              "$.timeout_seconds: expected a number from 1 to 3600");
    EXPECT_EQ(faults(R"({"url":"http://a","headers":"A: b"})"),
              "$.headers: expected an object of names and values");
    for (const auto* value :
         {"5", "[]", "{}", "true", "null", R"({"$env":5})", R"({"$env":"A","x":1})", R"({"$other":"A"})"}) {
        EXPECT_EQ(faults(std::string(R"({"url":"http://a","headers":{"X-A":)") + value + "}}"),
                  R"($.headers.X-A: expected a string or a secret reference such as {"$env": "NAME"})")
            << value;
    }
    for (const auto* auth : {"5", "\"bearer\"", "[]", "{}", R"({"type":"basic"})", R"({"type":5})"}) {
        EXPECT_EQ(faults(std::string(R"({"url":"http://a","auth":)") + auth + "}"),
                  "$.auth.type: expected bearer; $.auth.token: expected a string or a secret reference")
            << auth;
    }
    EXPECT_EQ(faults(R"({"url":"http://a","auth":{"type":"bearer","token":{"$env":["A"]}}})"),
              "$.auth.token: expected a string or a secret reference");
}

TEST(FunctionConfig, StopsTheJobForGood) {
    EXPECT_EQ(summary(prepare("")),
              "permanent bad_config: configuration: $.url: expected the http or https URL to POST to");
    EXPECT_EQ(summary(prepare(R"({"limit":0})")),
              "permanent bad_config: configuration: $.url: expected the http or https URL to POST to; "
              "$.limit: expected a number from 1 to 100000");
}

}  // namespace
}  // namespace sync_engine

// Configurations of the `http` connector that are wrong, and what is said about them.
#include <algorithm>

#include "connectors/config_section.hpp"
#include "connectors/presets.hpp"
#include "unit/connector_http_support.hpp"

namespace sync_engine::http_test {
namespace {

std::string errors_of(std::string_view config) {
    std::string text;
    for (const ConfigError& error : http_connector()->validate(config)) {
        text += (text.empty() ? "" : "; ") + error.path + ": " + error.message;
    }
    return text;
}

// What is wrong with a configuration that has `more` beside a base URL.
std::string with_base(const std::string& more) {
    return errors_of(R"({"base_url":"https://api.example.com",)" + more + "}");
}

TEST(HttpConfig, GoodOnes) {
    EXPECT_EQ(errors_of(R"({"base_url":"https://api.example.com"})"), "");
    EXPECT_EQ(errors_of(R"({"preset":"github-issues","repo":"a/b"})"), "");
    EXPECT_EQ(errors_of(R"({"preset":"github-issues"})"),
              "");  // a provider's own: connections name the repository
    EXPECT_EQ(with_base(R"("preset":"rest","path":"/v1/{{config.account}}/items","account":"a1",
        "query":{"limit":50,"active":true,"since":"{{cursor.watermark}}","key":{"$file":"key"}},
        "headers":{"Accept":"application/json","X-Key":{"$env":"KEY"}},
        "auth":{"type":"api_key","in":"header","name":"X-Api-Key","value":{"$env":"API_KEY"}},
        "records":"/items",
        "mapping":{"kind":{"pointer":"/type","default":"item"},"occurred_at":{"pointer":"/at","format":"epoch_seconds"},
                   "dedupe_key":"{{record.id}}","payload":{"pointer":"/data"}},
        "cursor":{"max_of":"/at","lag_seconds":60,"format":"epoch_seconds","initial":0},
        "paging":{"type":"cursor_param","pointer":"/next","param":"cursor","max_pages":5},
        "status_map":{"404":"transient"},"timeout_seconds":5,"connect_timeout_seconds":0.5,"max_body_bytes":65536,
        "sync_engine":{"allowed_hosts":[]})"),
              "");
}

TEST(HttpConfig, Nothing) {
    EXPECT_EQ(errors_of(""), "$: provider has no configuration");
    EXPECT_EQ(errors_of("{}"), "$: provider has no configuration");
    EXPECT_EQ(errors_of(R"({"sync_engine":{"origin":null}})"), "$: provider has no configuration");
    EXPECT_EQ(errors_of("[]"), "$: expected an object");
    EXPECT_EQ(errors_of("null"), "$: expected an object");
    EXPECT_EQ(errors_of("7"), "$: expected an object");
    EXPECT_TRUE(errors_of("{").starts_with("$: "));
}

TEST(HttpConfig, JobWithoutConfigurationFailsForGood) {
    const Failure failure = Bench("{}").refused();
    EXPECT_EQ(failure.kind, FailureKind::permanent);
    EXPECT_EQ(failure.error_json, R"({"code":"bad_config","message":"$: provider has no configuration"})");
}

TEST(HttpConfig, UnknownKeysSuggestTheNearest) {
    EXPECT_EQ(with_base(R"("pagin":{"type":"none"})"), "$.pagin: unknown key; did you mean paging?");
    EXPECT_EQ(with_base(R"("paging":{"type":"none","max_page":3})"),
              "$.paging.max_page: unknown key; did you mean max_pages?");
    EXPECT_TRUE(
        with_base(R"("zzzzzzzz":1)").starts_with("$.zzzzzzzz: unknown key; known are preset, base_url"));
    EXPECT_TRUE(with_base("\"" + std::string(5000, 'x') + "\":1").find("unknown key; known are") !=
                std::string::npos);
    EXPECT_EQ(with_base(R"("path":"/{{config.acount}}","account":"a")").substr(0, 22),
              "$.account: unknown key");
    EXPECT_EQ(nearest_name("", std::vector<std::string_view>{"a"}), "a");
}

TEST(HttpConfig, BaseUrl) {
    EXPECT_EQ(errors_of(R"({"path":"/x"})"), "$.base_url: is required");
    EXPECT_EQ(errors_of(R"({"base_url":7})"), "$.base_url: expected a string, not a number");
    const std::string bad = "$.base_url: expected an http or https URL such as https://api.example.com/v1";
    for (const char* url : {"", "api.example.com", "ftp://example.com", "https://",
                            "https://user:pw@example.com", "https://example.com:0", "https://exa mple.com",
                            "file:///etc/passwd", "https://a?b=c", "https://a#b", "https://a\\\\b"}) {
        EXPECT_EQ(errors_of(std::string(R"({"base_url":")") + url + "\"}"), bad) << url;
    }
    EXPECT_EQ(errors_of(R"({"base_url":"https://{{config.host}}/v1","host":"x"})").substr(0, 66),
              "$.base_url: templates are not allowed before the path; $.host: unk");
    EXPECT_EQ(errors_of(R"({"base_url":"https://a/v1?x=1"})"),
              "$.base_url: holds '?', '#' or '\\'; parameters belong into $.query");
    EXPECT_EQ(errors_of(R"({"base_url":"https://a/{{config.tenant}}/v1","tenant":"t"})"), "");
}

TEST(HttpConfig, PathAndTemplates) {
    EXPECT_EQ(with_base(R"("path":"x")"), "$.path: must begin with '/'");
    EXPECT_EQ(with_base(R"("path":"{{config.p}}","p":"/x")"), "$.path: must begin with '/'");
    EXPECT_EQ(with_base(R"("path":"/x?y=1")"),
              "$.path: holds '?', '#' or '\\'; parameters belong into $.query");
    EXPECT_EQ(with_base(R"("path":"/{{x")"), "$.path: {{ without }} after it");
    EXPECT_EQ(
        with_base(R"("query":{"a":"{{secret.x}}"})"),
        "$.query.a: {{secret.x}} is unknown; a reference begins with one of config, cursor, input, now");
    EXPECT_EQ(with_base(R"("query":[])"), "$.query: expected an object, not an array");
    EXPECT_EQ(with_base(R"("query":{"a":[1]})"),
              "$.query.a: expected a string or a secret reference such as {\"$env\": \"NAME\"}");
    EXPECT_EQ(with_base(R"("query":{"a":{"$vault":"x"}})"),
              "$.query.a: expected a string or a secret reference such as {\"$env\": \"NAME\"}");
    EXPECT_EQ(with_base(R"("query":{"a":{"$env":7}})"),
              "$.query.a: expected a string or a secret reference such as {\"$env\": \"NAME\"}");
}

TEST(HttpConfig, Headers) {
    EXPECT_EQ(with_base(R"("headers":{"X Y":"a"})"), "$.headers.X Y: is not a header name");
    EXPECT_EQ(with_base(R"("headers":{"":"a"})"), "$.headers: is not a header name");
    EXPECT_EQ(with_base(R"("headers":{"a\r\nb":"a"})"), "$.headers.a\r\nb: is not a header name");
    EXPECT_EQ(with_base(R"("headers":{"HOST":"evil"})"), "$.headers.HOST: this header cannot be set");
    EXPECT_EQ(with_base(R"("headers":{"Transfer-Encoding":"chunked"})"),
              "$.headers.Transfer-Encoding: this header cannot be set");
}

TEST(HttpConfig, Auth) {
    EXPECT_EQ(with_base(R"("auth":{})"), "$.auth.type: is required");
    EXPECT_EQ(with_base(R"("auth":"x")"), "$.auth: expected an object, not a string");
    EXPECT_EQ(with_base(R"("auth":{"type":"oauth"})"), "$.auth.type: expected one of bearer, basic, api_key");
    EXPECT_EQ(with_base(R"("auth":{"type":"bearer"})"), "$.auth.token: is required");
    EXPECT_EQ(with_base(R"("auth":{"type":"bearer","token":{}})"),
              "$.auth.token: expected a string or a secret reference such as {\"$env\": \"NAME\"}");
    EXPECT_EQ(with_base(R"("auth":{"type":"bearer","tokn":"x","token":"y"})"),
              "$.auth.tokn: unknown key; did you mean token?");
    EXPECT_EQ(with_base(R"("auth":{"type":"basic"})"),
              "$.auth.username: is required; $.auth.password: is required");
    EXPECT_EQ(with_base(R"("auth":{"type":"api_key","in":"body","name":"k","value":"v"})"),
              "$.auth.in: expected one of header, query");
    EXPECT_EQ(with_base(R"("auth":{"type":"api_key","in":"header","name":"Host","value":"v"})"),
              "$.auth.name: this header cannot be set");
    EXPECT_EQ(with_base(R"("auth":{"type":"api_key","in":"query","name":"","value":"v"})"),
              "$.auth.name: is empty");
}

TEST(HttpConfig, RecordsMappingAndCursor) {
    EXPECT_EQ(with_base(R"("records":"items")"),
              "$.records: expected a JSON pointer (RFC 6901): \"\" or one that begins with '/'");
    EXPECT_EQ(with_base(R"("mapping":{"kind":""})"), "$.mapping.kind: is empty");
    EXPECT_EQ(with_base(R"("mapping":{"kind":7})"), "$.mapping.kind: expected a string, not a number");
    EXPECT_EQ(with_base(R"("mapping":{"kind":{"default":"x"}})"), "$.mapping.kind.pointer: is required");
    EXPECT_EQ(with_base(R"("mapping":{"occurred_at":{"pointer":"/a","format":"rfc822"}})"),
              "$.mapping.occurred_at.format: expected one of iso, epoch_seconds, epoch_milliseconds");
    EXPECT_TRUE(
        with_base(R"("mapping":{"dedupe_key":"x"})").starts_with("$.mapping.dedupe_key: must refer to"));
    EXPECT_EQ(with_base(R"("mapping":{"dedupe_key":"{{config.x}}"})"),
              "$.mapping.dedupe_key: {{config.x}} is unknown; a reference begins with one of record");
    EXPECT_EQ(
        with_base(R"("mapping":{"payload":{"pointer":"x"}})"),
        "$.mapping.payload.pointer: expected a JSON pointer (RFC 6901): \"\" or one that begins with '/'");
    EXPECT_EQ(with_base(R"("cursor":{})"), "$.cursor: expected either max_of or pointer");
    EXPECT_EQ(with_base(R"("cursor":{"max_of":"/a","pointer":"/b"})"),
              "$.cursor: expected either max_of or pointer");
    EXPECT_EQ(with_base(R"("cursor":{"pointer":"/b","lag_seconds":1})"),
              "$.cursor.lag_seconds: goes with max_of only");
    EXPECT_EQ(with_base(R"("cursor":{"max_of":"/a","lag_seconds":-1})"),
              "$.cursor.lag_seconds: expected a number from 0 to 31622400");
    EXPECT_EQ(with_base(R"("cursor":{"max_of":"/a","lag_seconds":1.5})"),
              "$.cursor.lag_seconds: expected a whole number");
    EXPECT_EQ(with_base(R"("cursor":{"max_of":"/a","initial":{}})"),
              "$.cursor.initial: expected a string or a number");
}

TEST(HttpConfig, Paging) {
    EXPECT_EQ(
        with_base(R"("paging":{"type":"magic"})"),
        "$.paging.type: expected one of none, link_header, next_url, cursor_param, page_number, offset");
    EXPECT_EQ(with_base(R"("paging":{})"), "$.paging.type: is required");
    EXPECT_EQ(with_base(R"("paging":{"type":"next_url"})"), "$.paging.pointer: is required");
    EXPECT_EQ(with_base(R"("paging":{"type":"cursor_param","pointer":"/a"})"), "$.paging.param: is required");
    EXPECT_EQ(with_base(R"("paging":{"type":"page_number","param":"p","size_param":"n"})"),
              "$.paging.size: is required");
    EXPECT_EQ(with_base(R"("paging":{"type":"offset","param":"p","size":0})"),
              "$.paging.size: expected a number from 1 to 1000000");
    EXPECT_EQ(with_base(R"("paging":{"type":"link_header","param":"p"})").substr(0, 28),
              "$.paging.param: unknown key;");
    EXPECT_EQ(with_base(R"("paging":{"type":"offset","param":"p","stop_on_short_page":"yes"})"),
              "$.paging.stop_on_short_page: expected true or false");
    EXPECT_EQ(with_base(R"("paging":{"type":"link_header","resume_within_seconds":5})"),
              "$.paging.resume_within_seconds: expected a number from 3600 to 31622400");
}

TEST(HttpConfig, LimitsAndStatuses) {
    EXPECT_EQ(with_base(R"("timeout_seconds":0)"), "$.timeout_seconds: expected a number from 0.1 to 3600");
    EXPECT_EQ(with_base(R"("timeout_seconds":"5")"), "$.timeout_seconds: expected a number from 0.1 to 3600");
    EXPECT_EQ(with_base(R"("timeout_seconds":1e999)"),
              "$.timeout_seconds: expected a number from 0.1 to 3600");
    EXPECT_EQ(with_base(R"("max_body_bytes":10)"),
              "$.max_body_bytes: expected a number from 1024 to 1073741824");
    EXPECT_EQ(with_base(R"("status_map":{"404":"ignore"})"),
              "$.status_map.404: expected one of transient, rate_limited, unauthorized, permanent");
    for (const char* status : {"200", "304", "600", "4xx", "", "0404", "-40", "40x"}) {
        EXPECT_TRUE(has(with_base(std::string(R"("status_map":{")") + status + R"(":"permanent"})"),
                        "expected a status from 300 to 599, but 304"))
            << status;
    }
    EXPECT_EQ(errors_of(R"({"preset":"gitlab","base_url":"https://a"})"),
              "$.preset: expected one of github-issues, rest");
}

TEST(HttpConfig, SeveralErrorsComeTogether) {
    const Failure failure = Bench(R"({"base_url":"x","paging":{"type":"magic"},"extra":1})").refused();
    EXPECT_EQ(failure.kind, FailureKind::permanent);
    for (const char* path : {"$.base_url: ", "$.paging.type: ", "$.extra: "}) {
        EXPECT_TRUE(has(failure.error_json, path)) << failure.error_json;
    }
}

TEST(HttpConfig, TimeoutsAndCapReachTheRequest) {
    const ApiRequest request =
        Bench(
            R"({"base_url":"https://a","timeout_seconds":2.5,"connect_timeout_seconds":1,"max_body_bytes":4096})")
            .request();
    EXPECT_EQ(request.timeout_ms, 2500);
    EXPECT_EQ(request.connect_timeout_ms, 1000);
    EXPECT_EQ(request.max_body_bytes, 4096U);
}

TEST(HttpConfig, RefusalOfTheMergeComesFirst) {
    const Failure failure =
        Bench(
            R"({"paging":7,"sync_engine":{"refused":"the connection leads \"base_url\" to https://evil.example:443"}})")
            .refused();
    EXPECT_EQ(failure.kind, FailureKind::permanent);
    EXPECT_EQ(
        failure.error_json,
        R"({"code":"refused","message":"the connection leads \"base_url\" to https://evil.example:443"})");
}

// RFC 7396, appendix A, as far as it is about objects.
TEST(HttpConfig, MergePatch) {
    const std::vector<std::array<const char*, 3>> cases = {
        {{R"({"a":"b"})", R"({"a":"c"})", R"({"a":"c"})"},
         {R"({"a":"b"})", R"({"b":"c"})", R"({"a":"b","b":"c"})"},
         {R"({"a":"b"})", R"({"a":null})", "{}"},
         {R"({"a":["b"]})", R"({"a":"c"})", R"({"a":"c"})"},
         {R"({"a":"c"})", R"({"a":["b"]})", R"({"a":["b"]})"},
         {R"({"a":{"b":"c"}})", R"({"a":{"b":"d","c":null}})", R"({"a":{"b":"d"}})"},
         {R"({"a":[{"b":"c"}]})", R"({"a":[1]})", R"({"a":[1]})"},
         {R"(["a","b"])", R"(["c","d"])", R"(["c","d"])"},
         {R"({"a":"b"})", R"(["c"])", R"(["c"])"},
         {R"([1,2])", R"({"a":"b","c":null})", R"({"a":"b"})"},
         {"{}", R"({"a":{"bb":{"ccc":null}}})", R"({"a":{"bb":{}}})"}}};
    for (const auto& [target, patch, expected] : cases) {
        rapidjson::Document into;
        rapidjson::Document from;
        std::string error;
        ASSERT_TRUE(parse_json(target, into, error) && parse_json(patch, from, error));
        merge_patch(into, from, into.GetAllocator());
        EXPECT_EQ(json_of(into), expected) << target << " " << patch;
    }
}

TEST(HttpConfig, PresetIsOverriddenKeyByKey) {
    const std::string url =
        Bench(R"({"preset":"github-issues","repo":"a/b","query":{"since":null,"per_page":5,"labels":"bug"}})")
            .request()
            .url;
    EXPECT_EQ(url,
              "https://api.github.com/repos/a/b/"
              "issues?state=all&sort=updated&direction=desc&per_page=5&labels=bug");
    EXPECT_EQ(Bench(R"({"preset":"rest","base_url":"https://a/v1/"})").request().url, "https://a/v1");
}

}  // namespace
}  // namespace sync_engine::http_test

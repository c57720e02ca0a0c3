// What the `http` connector sends: addresses, headers, credentials, and what it refuses to send.
#include "connectors/auth.hpp"
#include "connectors/url_text.hpp"
#include "unit/connector_http_support.hpp"

namespace sync_engine::http_test {
namespace {

const std::string kBase = R"("base_url":"https://api.example.com/v1/")";

std::string config(const std::string& more) {
    return "{" + kBase + "," + more + "}";
}

std::string message(const Failure& failure) {
    EXPECT_EQ(failure.kind, FailureKind::permanent);
    return part(failure.error_json, "message");
}

TEST(HttpRequest, PathIsFilledInSegmentBySegment) {
    EXPECT_EQ(Bench(config(R"("path":"/t/{{config.t}}/x y","t":"a/b?c#d")")).request().url,
              "https://api.example.com/v1/t/a%2Fb%3Fc%23d/x%20y");
    EXPECT_EQ(Bench(config(R"("path":"/{{config.t}}","t":"\u00e4\u0000")")).request().url,
              "https://api.example.com/v1/%C3%A4%EF%BF%BD");
    EXPECT_EQ(Bench(R"({"base_url":"https://a/{{config.t}}/v2","t":7,"path":"/x"})").request().url,
              "https://a/7/v2/x");
}

TEST(HttpRequest, PathNeedsItsValues) {
    EXPECT_EQ(message(Bench(config(R"("path":"/t/{{config.account}}/x")")).refused()),
              "\"the path needs {{config.account}}, which is missing\"");
    EXPECT_EQ(message(Bench(config(R"("path":"/t/{{config.t}}","t":"")")).refused()),
              "\"the path needs {{config.t}}, which is empty\"");
    EXPECT_EQ(message(Bench(config(R"("path":"/t/{{config.t}}","t":[])")).refused()),
              "\"the path needs {{config.t}}, which is an array\"");
    EXPECT_EQ(message(Bench(R"({"preset":"github-issues","owner":"a"})").refused()),
              "\"the path needs {{config.repo}}, which is missing\"");
}

TEST(HttpRequest, PathCannotClimb) {
    for (const char* value : {"..", "."}) {
        Bench bench(config(R"("path":"/repos/{{config.t}}/x","t":")" + std::string(value) + "\""));
        EXPECT_EQ(message(bench.refused()), "\"the path has a segment \\\"" + std::string(value) + "\\\"\"");
    }
    EXPECT_TRUE(has(message(Bench(config(R"("path":"/a/%2e%2E")")).refused()), "has a segment"));
    EXPECT_TRUE(Bench(config(R"("path":"/a/..b/c..")")).request().url.ends_with("/a/..b/c.."));
}

TEST(HttpRequest, QueryLeavesOutWhatIsMissing) {
    Bench bench(config(R"("query":{"a b":"c d","n":5,"t":true,"since":"{{cursor.watermark}}",
        "range":"{{input.from}}..{{input.to}}","empty":"","at":"{{now.date}}"})"));
    EXPECT_EQ(bench.request().url, "https://api.example.com/v1?a%20b=c%20d&n=5&t=true&empty=&at=2026-03-01");
    bench.job.input_json = R"({"from":1,"to":2})";
    bench.job.cursor_json = R"({"watermark":"x&y"})";
    EXPECT_EQ(
        bench.request().url,
        "https://api.example.com/v1?a%20b=c%20d&n=5&t=true&since=x%26y&range=1..2&empty=&at=2026-03-01");
    bench.job.input_json = R"({"from":{},"to":2})";
    EXPECT_EQ(message(bench.refused()), "\"{{input.from}} is an object\"");
}

TEST(HttpRequest, CursorsThatPeopleSet) {
    const std::string since = config(R"("query":{"since":"{{cursor.watermark}}","o":"{{cursor.other}}"},
        "cursor":{"max_of":"/at","initial":"2020-01-01"})");
    EXPECT_TRUE(Bench(since).request().url.ends_with("?since=2020-01-01"));
    EXPECT_TRUE(Bench(since, R"("2026-01-01")").request().url.ends_with("?since=2026-01-01"));
    EXPECT_TRUE(Bench(since, "1700000000").request().url.ends_with("?since=1700000000"));
    EXPECT_TRUE(Bench(since, R"({"other":5})").request().url.ends_with("?since=2020-01-01&o=5"));
    EXPECT_TRUE(Bench(since, "null").request().url.ends_with("?since=2020-01-01"));
    EXPECT_TRUE(has(message(Bench(since, "[1]").refused()), "the cursor is not an object"));
    EXPECT_TRUE(has(message(Bench(since, "true").refused()), "the cursor is not an object"));
    EXPECT_TRUE(has(message(Bench(since, "{").refused()), "the cursor is not an object"));
}

TEST(HttpRequest, Credentials) {
    Bench bearer(config(
        R"("auth":{"type":"bearer","token":"plain"},"headers":{"authorization":"other","X-A":"{{config.a}}"},
        "a":"b")"));
    EXPECT_EQ(bearer.request().headers, (Headers{{"X-A", "b"}, {"Authorization", "Bearer plain"}}));

    Bench basic(config(R"("auth":{"type":"basic","username":"Aladdin","password":{"$file":"pw"}})"));
    basic.secrets.files["pw"] = "open sesame";
    EXPECT_EQ(header_of(basic.request(), "Authorization"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");

    Bench in_header(config(R"("auth":{"type":"api_key","in":"header","name":"X-Key","value":{"$env":"K"}})"));
    in_header.secrets.env_values["K"] = "k1";
    EXPECT_EQ(header_of(in_header.request(), "X-Key"), "k1");

    Bench in_query(config(R"("query":{"a":1,"key":"x","token":{"$env":"T"}},
        "auth":{"type":"api_key","in":"query","name":"key","value":{"$env":"K"}})"));
    in_query.secrets.env_values = {{"K", "k&1"}, {"T", "t/1"}};
    EXPECT_EQ(in_query.request().url, "https://api.example.com/v1?a=1&key=k%261&token=t%2F1");
    EXPECT_EQ(in_query.secrets.hosts, (std::vector<std::string>{"api.example.com", "api.example.com"}));
}

TEST(HttpRequest, SecretThatDoesNotResolve) {
    const std::vector<std::pair<std::string, std::string>> cases = {
        {R"("auth":{"type":"bearer","token":{"$env":"PGPASSWORD"}})", "$env PGPASSWORD"},
        {R"("headers":{"X-Steal":{"$env":"PGPASSWORD"}})", "$env PGPASSWORD"},
        {R"("query":{"x":{"$file":"../etc/passwd"}})", "$file ../etc/passwd"},
        {R"("auth":{"type":"basic","username":{"$env":"U"},"password":"p"})", "$env U"}};
    for (const auto& [part_of_config, reference] : cases) {
        EXPECT_EQ(message(Bench(config(part_of_config)).refused()),
                  "\"secret reference " + reference +
                      " does not resolve: it is not allowed for this host or has no value\"");
    }
}

TEST(HttpRequest, HeaderValuesCannotBreakTheLine) {
    Bench bench(config(R"("auth":{"type":"bearer","token":{"$env":"T"}})"));
    bench.secrets.env_values["T"] = "abc\r\nX-Evil: 1";
    const std::string text = message(bench.refused());
    EXPECT_EQ(text, "\"the value of the header Authorization holds a line break\"");
    EXPECT_TRUE(has(message(Bench(config(R"("headers":{"X":"a\nb"})")).refused()), "header X"));
    EXPECT_EQ(header_of(Bench(config(R"("headers":{"X":"{{input.gone}}"})")).request(), "X"), "(none)");
}

TEST(HttpRequest, AddressThatIsTooLong) {
    Bench bench(config(R"("query":{"x":")" + std::string(9000, 'x') + "\"" + "}"));
    EXPECT_TRUE(has(message(bench.refused()), "longer than 8192 bytes"));
}

TEST(HttpRequest, PagePositionGoesOnlyWhereItMay) {
    const std::string paged =
        config(R"("paging":{"type":"link_header"},"auth":{"type":"bearer","token":"s3cret"},
        "headers":{"Accept":"application/json","X-Tenant":"t"},
        "query":{"k":{"$env":"K"}},"sync_engine":{"allowed_hosts":["Pages.example.com","other.example.com:8443"]})");
    const auto at = [&](const std::string& url) {
        Bench bench(paged, R"({"page":{"url":")" + url + R"(","count":1,"started":"2026-03-01T11:59:00Z",
            "written":"2026-03-01T11:59:00Z"}})");
        bench.secrets.env_values["K"] = "k1";
        return bench;
    };
    EXPECT_EQ(at("https://api.example.com/v1?page=2").request().url,
              "https://api.example.com/v1?page=2&k=k1");
    for (const char* url : {"https://pages.example.com/p?page=2", "https://other.example.com:8443/p"}) {
        const ApiRequest request = at(url).request();
        EXPECT_EQ(request.url, url);
        EXPECT_EQ(request.headers, (Headers{{"Accept", "application/json"}}));
    }
    for (const char* url :
         {"https://evil.example.com/", "http://api.example.com/v1", "https://api.example.com:444/",
          "https://other.example.com/p", "https://169.254.169.254/latest/meta-data"}) {
        EXPECT_TRUE(has(message(at(url).refused()), "the next page is at another origin, ")) << url;
    }
    for (const char* url : {"file:///etc/passwd", "https://api.example.com@evil/", "x"}) {
        EXPECT_TRUE(has(message(at(url).refused()), "is not a plain http or https URL")) << url;
    }
}

TEST(HttpRequest, OldOrForeignPositionBeginsAnew) {
    const std::string paged = config(R"("paging":{"type":"page_number","param":"page"},
        "query":{"since":"{{cursor.watermark}}"},"cursor":{"max_of":"/at"})");
    const auto at = [&](const std::string& written, const std::string& place) {
        return Bench(paged, R"({"watermark":5,"max":9,"page":{)" + place +
                                R"(,"count":1,"started":"2026-03-01T00:00:00Z",
            "written":")" + written +
                                "\"}}")
            .request()
            .url;
    };
    EXPECT_TRUE(at("2026-02-28T12:00:01Z", R"("number":4)").ends_with("?since=5&page=4"));
    EXPECT_TRUE(at("2026-02-28T11:59:59Z", R"("number":4)").ends_with("?since=5&page=1"));
    EXPECT_TRUE(at("nonsense", R"("number":4)").ends_with("?since=5&page=1"));
    EXPECT_TRUE(at("2026-03-01T12:00:00Z", R"("token":"abc")").ends_with("?since=5&page=1"));
    EXPECT_TRUE(at("2026-03-01T12:00:00Z", R"("number":-4)").ends_with("?since=5&page=1"));
}

TEST(UrlText, References) {
    const std::string base = "https://h:8443/a/b?c=d#e";
    EXPECT_EQ(resolve_reference(base, "https://other/x"), "https://other/x");
    EXPECT_EQ(resolve_reference(base, "//other/x"), "https://other/x");
    EXPECT_EQ(resolve_reference(base, "/x?y=1#z"), "https://h:8443/x?y=1");
    EXPECT_EQ(resolve_reference(base, "x"), "https://h:8443/a/x");
    EXPECT_EQ(resolve_reference(base, "?page=2"), "https://h:8443/a/b?page=2");
    EXPECT_EQ(resolve_reference("https://h", "x"), "https://h/x");
    EXPECT_EQ(resolve_reference("https://h?a=/b/c", "x"), "https://h/x");
    EXPECT_EQ(resolve_reference(base, ""), "https://h:8443/a/b?c=d");
    for (const char* bad :
         {"javascript:alert(1)", "file:///etc/passwd", "https://user@h/", "/a b", "/a\nb", "https://"}) {
        EXPECT_FALSE(resolve_reference(base, bad)) << bad;
    }
}

TEST(UrlText, Parameters) {
    const std::vector<std::string> names = {"key", "a b"};
    EXPECT_EQ(without_parameters("https://h/p?x=1&key=2&%6bey=3&a+b=4&a%20b=5&y", names),
              "https://h/p?x=1&y");
    EXPECT_EQ(without_parameters("https://h/p?key=2#f", names), "https://h/p");
    EXPECT_EQ(with_parameter("https://h/p?key=2&x", "key", "a&b"), "https://h/p?x&key=a%26b");
    EXPECT_EQ(with_parameter("https://h/p", "k", ""), "https://h/p?k=");
    EXPECT_EQ(parameter_values("https://h/?k=a%26&x&k=+%zz", "k"), (std::vector<std::string>{"a&", " %zz"}));
    EXPECT_EQ(percent_decoded("%4"), "%4");
    EXPECT_EQ(percent_decoded("%"), "%");
}

TEST(UrlText, Base64) {
    EXPECT_EQ(base64(""), "");
    EXPECT_EQ(base64("f"), "Zg==");
    EXPECT_EQ(base64("fo"), "Zm8=");
    EXPECT_EQ(base64("foo"), "Zm9v");
    EXPECT_EQ(base64("foob"), "Zm9vYg==");
    EXPECT_EQ(base64("\xFF\xFE\xFD"), "//79");
    for (const char* text : {"", "f", "fo", "foo", "foob", "\xFF\xFE\xFD\xFC"}) {
        EXPECT_EQ(base64_decoded(base64(text)), text);
    }
    EXPECT_EQ(base64_decoded("Zm9v!!!!"), "foo");
}

}  // namespace
}  // namespace sync_engine::http_test

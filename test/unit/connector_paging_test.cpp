#include <gtest/gtest.h>

#include "connectors/paging.hpp"
#include "unit/connector_http_support.hpp"

namespace sync_engine::http_test {
namespace {

std::string link(const std::string& value) {
    return next_link({{"Link", value}}).value_or("(none)");
}

TEST(LinkHeader, FindsTheNextPage) {
    EXPECT_EQ(link("<https://a/?page=2>; rel=\"next\", <https://a/?page=9>; rel=\"last\""),
              "https://a/?page=2");
    EXPECT_EQ(link("<https://a/?page=1>; rel=\"prev\", <https://a/?page=3>; rel=\"next\""),
              "https://a/?page=3");
    EXPECT_EQ(link("<x>;rel=next"), "x");
    EXPECT_EQ(link("<x> ; title=\"a, b; rel=last\" ; REL = \"prev Next\""), "x");
    EXPECT_EQ(link("<a,b;c>; rel=next"), "a,b;c");
    EXPECT_EQ(link(" , <x>; rel=next"), "x");
    EXPECT_EQ(link("<x>; crossorigin; rel=next"), "x");
    EXPECT_EQ(link("<>; rel=next"), "");
    EXPECT_EQ(next_link({{"link", "<1>; rel=last"}, {"LINK", "<2>; rel=next"}}), "2");
}

TEST(LinkHeader, IgnoresWhatIsNotOne) {
    for (const char* value :
         {"", "x; rel=next", "<x", "<x>", "<x>; rel=", "<x>; rel", "<x>; rel=\"nextt\"", "<x>; rel=last",
          "<x>; rel=last; rel=next", "<x>; rev=next", "<x>; title=\"rel=next", "<x> rel=next", "<x>; rel=\"",
          "<x>;;;", ",,,", "<x>; =next", "<x>; rel=\\next"}) {
        EXPECT_EQ(link(value), "(none)") << value;
    }
}

std::string config(const std::string& paging, const std::string& more = "") {
    return R"({"base_url":"https://api.example.com","path":"/items","records":"/items",)" + more +
           R"("paging":)" + paging + "}";
}

const char* const kTwo = R"({"items":[{"id":1},{"id":2}]})";
const char* const kNone = R"({"items":[]})";

std::string stopped(const Page& page) {
    EXPECT_FALSE(page.has_more);
    return part(page.stats_json, "stopped");
}

TEST(Paging, None) {
    Bench bench(config(R"({"type":"none"})"));
    const Page page = bench.land(kTwo, {{"Link", "</items?page=2>; rel=next"}});
    EXPECT_FALSE(page.has_more);
    EXPECT_EQ(page.next_cursor_json, "");
}

TEST(Paging, LinkHeaderToItsEnd) {
    Bench bench(config(R"({"type":"link_header"})"));
    EXPECT_TRUE(bench.land(kTwo, {{"Link", "</items?page=2>; rel=next"}}).has_more);
    EXPECT_EQ(bench.request().url, "https://api.example.com/items?page=2");
    EXPECT_TRUE(bench.land(kNone, {{"Link", "<?page=3>; rel=next"}}).has_more);  // empty, but there is more
    EXPECT_EQ(bench.request().url, "https://api.example.com/items?page=3");
    const Page last = bench.land(kTwo);
    EXPECT_EQ(stopped(last), "");
    EXPECT_EQ(last.next_cursor_json, "{}");
    EXPECT_EQ(part(last.stats_json, "page"), "3");
}

TEST(Paging, EndlessPagersAreStopped) {
    Bench same(config(R"({"type":"link_header"})"));
    EXPECT_EQ(stopped(same.page(kTwo, {{"Link", "</items>; rel=next"}})), "\"repeated_url\"");

    Bench empty(config(R"({"type":"link_header","stop_on_empty_page":true})"));
    EXPECT_EQ(stopped(empty.page(kNone, {{"Link", "<?page=2>; rel=next"}})), "\"empty_page\"");

    Bench token(config(R"({"type":"cursor_param","pointer":"/next","param":"c"})"));
    EXPECT_TRUE(token.land(R"({"items":[],"next":"abc"})").has_more);
    EXPECT_EQ(stopped(token.page(R"({"items":[],"next":"abc"})")), "\"repeated_token\"");
}

TEST(Paging, MaxPagesEndsTheRunAndTheNextOneGoesOn) {
    Bench bench(config(R"({"type":"link_header","max_pages":2})", R"("cursor":{"max_of":"/id"},)"));
    bench.job.cursor_json = R"({"watermark":0})";
    EXPECT_TRUE(bench.land(kTwo, {{"Link", "<?page=2>; rel=next"}}).has_more);
    const Page second = bench.land(R"({"items":[{"id":7}]})", {{"Link", "<?page=3>; rel=next"}});
    EXPECT_EQ(stopped(second), "\"max_pages\"");
    EXPECT_EQ(part(second.next_cursor_json, "watermark"), "0");
    EXPECT_EQ(bench.request().url, "https://api.example.com/items?page=3");
    EXPECT_TRUE(bench.land(kTwo, {{"Link", "<?page=4>; rel=next"}}).has_more);
    EXPECT_EQ(bench.land(kTwo).next_cursor_json, R"({"watermark":7})");
}

TEST(Paging, NextUrl) {
    Bench bench(config(R"({"type":"next_url","pointer":"/links/next"})"));
    EXPECT_TRUE(bench.land(R"({"items":[1],"links":{"next":"/items?after=x#top"}})").has_more);
    EXPECT_EQ(bench.request().url, "https://api.example.com/items?after=x");
    for (const char* end : {R"({"items":[1],"links":{"next":null}})", R"({"items":[1],"links":{"next":""}})",
                            R"({"items":[1],"links":{"next":false}})", R"({"items":[1],"links":{"next":{}}})",
                            R"({"items":[1],"links":[]})", R"({"items":[1]})"}) {
        EXPECT_FALSE(bench.page(end).has_more) << end;
    }
}

TEST(Paging, CursorParameter) {
    Bench bench(config(R"({"type":"cursor_param","pointer":"/meta/next","param":"page[after]"})",
                       R"("query":{"limit":2,"page[after]":"x"},)"));
    EXPECT_EQ(bench.request().url, "https://api.example.com/items?limit=2&page%5Bafter%5D=x");
    EXPECT_TRUE(bench.land(R"({"items":[1],"meta":{"next":"a=&b"}})").has_more);
    EXPECT_EQ(bench.request().url, "https://api.example.com/items?limit=2&page%5Bafter%5D=a%3D%26b");
    EXPECT_TRUE(bench.land(R"({"items":[1],"meta":{"next":12345678901234567890}})").has_more);
    EXPECT_TRUE(has(bench.request().url, "=12345678901234567890"));
    EXPECT_FALSE(bench.page(R"({"items":[1],"meta":{}})").has_more);
    const Failure failure =
        bench.failure(R"({"items":[1],"meta":{"next":")" + std::string(9000, 'x') + "\"}}");
    EXPECT_EQ(failure.kind, FailureKind::permanent);
}

TEST(Paging, PageNumber) {
    Bench bench(config(R"({"type":"page_number","param":"p","start":0,"size_param":"n","size":2,
        "stop_on_short_page":true})"));
    EXPECT_EQ(bench.request().url, "https://api.example.com/items?p=0&n=2");
    EXPECT_TRUE(bench.land(kTwo).has_more);
    EXPECT_EQ(bench.request().url, "https://api.example.com/items?p=1&n=2");
    EXPECT_FALSE(bench.page(R"({"items":[{"id":3}]})").has_more);  // short
    EXPECT_FALSE(bench.page(kNone).has_more);

    Bench patient(config(R"({"type":"page_number","param":"p","size":2})"));
    EXPECT_TRUE(patient.land(R"({"items":[{"id":3}]})").has_more);
    EXPECT_EQ(patient.request().url, "https://api.example.com/items?p=2");
    EXPECT_FALSE(patient.page(kNone).has_more);
}

TEST(Paging, Offset) {
    Bench bench(config(R"({"type":"offset","param":"skip","limit_param":"take","size":2})"));
    EXPECT_EQ(bench.request().url, "https://api.example.com/items?skip=0&take=2");
    EXPECT_TRUE(bench.land(kTwo).has_more);
    EXPECT_EQ(bench.request().url, "https://api.example.com/items?skip=2&take=2");
    EXPECT_TRUE(bench.land(R"({"items":[1,2,3]})").has_more);  // more than asked for
    EXPECT_EQ(bench.request().url, "https://api.example.com/items?skip=5&take=2");
    EXPECT_FALSE(bench.page(kNone).has_more);
}

TEST(Paging, LinkToAnotherOriginFails) {
    const std::string body = kTwo;
    for (const char* target :
         {"https://evil.example/x", "//evil.example/x", "http://api.example.com/items?page=2",
          "https://api.example.com:8443/", "https://api.example.com.evil/"}) {
        Bench bench(config(R"({"type":"link_header"})", R"("auth":{"type":"bearer","token":"s3cret"},)"));
        const Failure failure = bench.failure(body, {{"Link", "<" + std::string(target) + ">; rel=next"}});
        EXPECT_EQ(failure.kind, FailureKind::permanent) << target;
        EXPECT_EQ(part(failure.error_json, "code"), "\"paging\"");
    }
    for (const char* target :
         {"file:///etc/passwd", "https://a@b/", "https://api.example.com\\\\@evil/", "ftp://x/"}) {
        Bench bench(config(R"({"type":"link_header"})"));
        EXPECT_TRUE(has(bench.failure(body, {{"Link", "<" + std::string(target) + ">; rel=next"}}).error_json,
                        "not a plain http or https URL"))
            << target;
    }
}

TEST(Paging, SecretsStayOutOfTheCursor) {
    Bench bench(config(R"({"type":"link_header"})",
                       R"("auth":{"type":"api_key","in":"query","name":"api_key","value":{"$env":"K"}},)"));
    bench.secrets.env_values["K"] = "top/secret";
    EXPECT_EQ(bench.request().url, "https://api.example.com/items?api_key=top%2Fsecret");
    const Page page = bench.land(kTwo, {{"Link", "</items?api_key=top%2Fsecret&page=2>; rel=next"}});
    EXPECT_FALSE(has(page.next_cursor_json, "secret"));
    EXPECT_EQ(bench.request().url, "https://api.example.com/items?page=2&api_key=top%2Fsecret");
    // The same page again, with the key in another place: still the same page.
    EXPECT_EQ(stopped(bench.page(kTwo, {{"Link", "</items?page=2&api_key=top%2Fsecret>; rel=next"}})),
              "\"repeated_url\"");
    for (const char* target : {"/items?other=top%2Fsecret", "/top/secret?page=2"}) {
        const Failure failure = bench.failure(kTwo, {{"Link", "<" + std::string(target) + ">; rel=next"}});
        EXPECT_EQ(failure.kind, FailureKind::permanent) << target;
        EXPECT_FALSE(has(failure.error_json, "secret?")) << failure.error_json;
    }
}

TEST(Paging, ExpiredPositionBeginsOnceMore) {
    Bench bench(
        config(R"({"type":"cursor_param","pointer":"/next","param":"c"})", R"("cursor":{"max_of":"/id"},)"));
    bench.job.cursor_json = R"({"watermark":1})";
    EXPECT_EQ(bench.failure("{}", {}, 410).kind,
              FailureKind::permanent);  // the first page has no position to lose
    bench.land(R"({"items":[{"id":5}],"next":"t1"})");
    const Page again = bench.land(R"({"error":"token expired"})", {}, 410);
    EXPECT_TRUE(again.signals.empty());
    EXPECT_TRUE(again.has_more);
    EXPECT_EQ(again.next_cursor_json, R"({"watermark":1,"restarted":true})");
    EXPECT_EQ(bench.request().url, "https://api.example.com/items");
    bench.land(R"({"items":[{"id":5}],"next":"t2"})");
    const Failure failure = bench.failure(R"({"error":"token expired"})", {}, 410);
    EXPECT_EQ(failure.kind, FailureKind::permanent);
    EXPECT_EQ(failure.error_json,
              R"({"code":"http_status","message":"status 410: token expired","status":410})");
    EXPECT_EQ(bench.land(R"({"items":[{"id":6}]})").next_cursor_json, R"({"watermark":6})");
}

TEST(Paging, SizeOfAFullPage) {
    const auto size = [](const std::string& json) {
        std::vector<ConfigError> errors;
        const HttpConfig read = read_http_config(json, errors);
        EXPECT_TRUE(errors.empty());
        return full_page(read);
    };
    EXPECT_EQ(size(R"({"preset":"github-issues"})"), 100);
    EXPECT_EQ(size(R"({"base_url":"https://a"})"), 0);
    EXPECT_EQ(size(R"({"base_url":"https://a","query":{"limit":"{{now}}","page_size":"x"}})"), 0);
    EXPECT_EQ(size(R"({"base_url":"https://a","query":{"limit":"25"}})"), 25);
    EXPECT_EQ(
        size(R"({"base_url":"https://a","paging":{"type":"link_header","size":30},"query":{"limit":25}})"),
        30);
}

}  // namespace
}  // namespace sync_engine::http_test

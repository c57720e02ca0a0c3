// What the API's description makes of requests.
#include <gtest/gtest.h>

#include <string>
#include <variant>
#include <vector>

#include "gateway/api/api_document.hpp"
#include "gateway/api/operation_request.hpp"
#include "gateway/url_decode.hpp"

namespace sync_engine {
namespace {

const ApiDocument& document() {
    static const ApiDocument made(openapi_texts());
    return made;
}

HttpRequest request_of(const std::string& method, const std::string& target, const std::string& body = "") {
    HttpRequest request;
    request.method = method;
    request.target = target;
    request.path = target.substr(0, target.find('?'));
    request.query = target.find('?') == std::string::npos ? "" : target.substr(target.find('?') + 1);
    request.body = body;
    if (!body.empty()) {
        request.headers.emplace_back("content-type", "application/json; charset=utf-8");
    }
    return request;
}

std::variant<OperationRequest, Problem> read(const HttpRequest& request) {
    const ApiRoute route = document().find(request.method, request.path);
    EXPECT_NE(route.operation, nullptr) << request.target;
    return read_operation_request(route, request);
}

OperationRequest taken(const HttpRequest& request) {
    auto result = read(request);
    EXPECT_TRUE(std::holds_alternative<OperationRequest>(result)) << std::get<Problem>(result).detail;
    return std::get<OperationRequest>(result);
}

Problem refused(const HttpRequest& request) {
    auto result = read(request);
    EXPECT_TRUE(std::holds_alternative<Problem>(result)) << request.target;
    return std::holds_alternative<Problem>(result) ? std::get<Problem>(result) : Problem{};
}

TEST(ApiDocument, FindsOperationsByMethodAndPath) {
    EXPECT_EQ(document().find("GET", "/api/v2/sync-schedules").operation->id, "listSchedules");
    EXPECT_EQ(document().find("HEAD", "/api/v2/sync-schedules").operation->id, "listSchedules");
    const ApiRoute route = document().find("POST", "/api/v2/sync-schedules/42/trigger");
    EXPECT_EQ(route.operation->id, "triggerSchedule");
    ASSERT_EQ(route.path_values.size(), 1U);
    EXPECT_EQ(route.path_values[0].second, "42");
    EXPECT_EQ(*route.operation->scope, "trigger");
    EXPECT_TRUE(route.operation->idempotent);
}

TEST(ApiDocument, PrefersSegmentsThatStandAsTheyAre) {
    EXPECT_EQ(document().find("POST", "/api/v2/deliveries/replay").operation->id, "replayDeliveries");
    EXPECT_EQ(document().find("GET", "/api/v2/deliveries/7").operation->id, "getDelivery");
}

TEST(ApiDocument, TellsWhatAPathTakes) {
    const ApiRoute route = document().find("DELETE", "/api/v2/sync-schedules");
    EXPECT_EQ(route.operation, nullptr);
    EXPECT_EQ(route.allow, "GET, POST");
}

TEST(ApiDocument, HasNothingUnderOtherPaths) {
    for (const char* path :
         {"/api/v2", "/api/v2/", "/api/v2/nothing", "/api/v1/sync-schedules", "/api/v2/sync-schedules/",
          "/api/v2/sync-schedules/%zz", "/api/v2/../sync-schedules", "/api/v2//sync-schedules",
          "/api/v2/sync-schedules/%2e%2e/connections/7/explain"}) {
        const ApiRoute route = document().find("GET", path);
        EXPECT_EQ(route.operation, nullptr) << path;
    }
}

TEST(ApiDocument, RefusesPartsThatDoNotFit) {
    const auto made = [](std::string_view a, std::string_view b) {
        return ApiDocument({{"a.json", a}, {"b.json", b}});
    };
    EXPECT_THROW(made(R"({"paths":{}})", "{"), std::runtime_error);
    EXPECT_THROW(made(R"({"openapi":"3.1.0","paths":{}})", R"({"openapi":"3.1.0"})"), std::runtime_error);
    EXPECT_THROW(made(R"({"paths":{"/a":{"get":{}}}})", "{}"), std::runtime_error);
    EXPECT_THROW(made(R"({"paths":{"/a":{"get":{"operationId":"a","responses":{"200":{}},"security":[],
        "parameters":[{"$ref":"#/components/parameters/None"}]}}}})",
                      "{}"),
                 std::runtime_error);
    EXPECT_THROW(
        made(R"({"paths":{"/a":{"get":{"operationId":"a","security":[],"responses":{"400":{}}}}}})", "{}"),
        std::runtime_error);
    EXPECT_THROW(
        made(
            R"({"paths":{"/a":{"get":{"operationId":"a","security":[],"responses":{"200":{}},
        "requestBody":{"content":{"application/json":{"schema":{"$ref":"#/components/schemas/Loop"}}}}}}}})",
            R"({"components":{"schemas":{"Loop":{"properties":{"x":{"$ref":"#/components/schemas/Loop"}}}}}})"),
        std::runtime_error);
}

TEST(OperationRequest, TakesParametersByTheirType) {
    const OperationRequest request = taken(request_of(
        "GET",
        "/api/v2/"
        "sync-schedules?connection_id=7&is_active=true&schedule_type=daily,weekly&name=a%20%22b%22+c"));
    EXPECT_EQ(request.parameters,
              R"({"connection_id":7,"is_active":true,"schedule_type":["daily","weekly"],"name":"a \"b\" c",)"
              R"("sort":"id","limit":50})");
    ASSERT_TRUE(request.order.has_value());
    EXPECT_EQ(request.order->sort, "id");
    EXPECT_FALSE(request.order->descending);
    EXPECT_EQ(request.limit, 50U);
}

TEST(OperationRequest, NamesTheParameterThatIsWrong) {
    const auto check = [](const std::string& query, const std::string& pointer) {
        const Problem problem = refused(request_of("GET", "/api/v2/sync-schedules?" + query));
        EXPECT_EQ(problem.status, 400U) << query;
        EXPECT_EQ(problem.pointer, pointer) << query;
    };
    check("limit=0", "limit");
    check("limit=501", "limit");
    check("limit=ten", "limit");
    check("limit=1e2", "limit");
    check("limit=99999999999999999999", "limit");
    check("is_active=yes", "is_active");
    check("schedule_type=never", "schedule_type");
    check("sort=colour", "sort");
    check("unknown=1", "unknown");
    check("name=a&name=b", "name");
    check("cursor=AAAA", "cursor");
    check("connection_id=0", "connection_id");
}

TEST(OperationRequest, RefusesQueriesThatAreNotText) {
    for (const char* query : {"name=%", "name=%4", "name=%ff", "name=%00", "name=%0a", "%c3=1"}) {
        EXPECT_EQ(refused(request_of("GET", std::string("/api/v2/sync-schedules?") + query)).code,
                  "malformed_query")
            << query;
    }
}

TEST(OperationRequest, IdsThatCannotBeAreNotFound) {
    EXPECT_EQ(refused(request_of("GET", "/api/v2/sync-schedules/0")).status, 404U);
    EXPECT_EQ(refused(request_of("GET", "/api/v2/executions/12")).status, 404U);
    EXPECT_EQ(taken(request_of("GET", "/api/v2/executions/12-34")).parameters, R"({"id":"12-34"})");
    EXPECT_EQ(refused(request_of("GET", "/api/v2/sync-schedules/abc")).status, 404U);
    EXPECT_EQ(refused(request_of("GET", "/api/v2/sync-schedules/9999999999999999999")).status, 404U);
}

TEST(OperationRequest, ChecksTheBodyByItsSchema) {
    const auto check = [](const std::string& body, const std::string& pointer, const std::string& detail) {
        const Problem problem = refused(request_of("POST", "/api/v2/sync-schedules", body));
        EXPECT_EQ(problem.status, 422U) << body;
        EXPECT_EQ(problem.code, "invalid") << body;
        EXPECT_EQ(problem.pointer, pointer) << body;
        EXPECT_EQ(problem.detail, detail) << body;
    };
    check(R"({"connection_id":1,"name":"a"})", "/schedule_type", "/schedule_type is missing");
    check(R"({"connection_id":1,"name":"a","schedule_type":"never"})", "/schedule_type",
          "/schedule_type must be one of realtime, hourly, daily, weekly, monthly, custom");
    check(R"({"connection_id":"1","name":"a","schedule_type":"daily"})", "/connection_id",
          "/connection_id must be of type integer");
    check(R"({"connection_id":1,"name":"","schedule_type":"daily"})", "/name",
          "/name must have at least 1 characters");
    check(R"({"connection_id":1,"name":"a","schedule_type":"daily","a/b~":1})", "/a~1b~0",
          "/a~1b~0 is not known here");
    check(R"({"connection_id":1.5,"name":"a","schedule_type":"daily"})", "/connection_id",
          "/connection_id must be of type integer");
    check(R"([1])", "", "the body must be of type object");
    check(R"("text")", "", "the body must be of type object");
}

TEST(OperationRequest, TimesHaveAZone) {
    for (const char* time : {"2026-03-01T12:15:00Z", "2026-03-01T12:15:00.123456789Z",
                             "2026-03-01T12:15:00-05:30", "2024-02-29T00:00:00+00:00"}) {
        const std::string body = R"({"starts_at":")" + std::string(time) + R"("})";
        EXPECT_EQ(taken(request_of("PATCH", "/api/v2/sync-schedules/3", body)).body, body);
    }
    for (const char* time : {"", "now", "infinity", "2026-03-01", "2026-03-01T12:15Z", "2026-03-01T12:15:00",
                             "2026-03-01 12:15:00Z", "2026-02-29T00:00:00Z", "2026-03-01T12:15:00+01",
                             "2026-03-01T12:15:00+0100", "12026-03-01T12:15:00Z", "0000-03-01T12:15:00Z"}) {
        const Problem problem = refused(request_of("PATCH", "/api/v2/sync-schedules/3",
                                                   R"({"starts_at":")" + std::string(time) + R"("})"));
        EXPECT_EQ(problem.status, 422U) << time;
        EXPECT_EQ(problem.pointer, "/starts_at") << time;
    }
    const std::string asked = "/api/v2/failures?since=2026-03-01T12:15:00";
    EXPECT_EQ(refused(request_of("GET", asked)).pointer, "since");
    EXPECT_EQ(taken(request_of("GET", asked + "Z")).given, std::vector<std::string>{"since"});
}

TEST(OperationRequest, TakesWhatItIsGivenBack) {
    const OperationRequest request = taken(request_of(
        "PUT", "/api/v2/sync-schedules/3",
        R"({"id":3,"name":"a","schedule_type":"daily","next_run_at":"2026-01-01T00:00:00Z","live_job":null})"));
    EXPECT_EQ(request.parameters, R"({"id":3})");
}

TEST(OperationRequest, RefusesBodiesThatAreNotJson) {
    const auto code = [](const std::string& body) {
        return refused(request_of("POST", "/api/v2/sync-schedules", body)).code;
    };
    for (const char* body :
         {"{", "{'a':1}", R"({"a":1}x)", R"({"a":1e999})", R"({"a":01})", "nul", R"({"a":"\ud800"})",
          "{\"a\":\"\xff\"}", "{\"a\":\"\xc0\xaf\"}", R"({"a":NaN})", "[1,]", "\xef\xbb\xbf{}"}) {
        EXPECT_EQ(code(body), "malformed_json") << body;
    }
    EXPECT_EQ(code(std::string("{}\0x", 4)), "malformed_json");
    EXPECT_EQ(code(std::string(100000, '[')), "malformed_json");
    EXPECT_EQ(code(R"({"config":)" + std::string(70, '[') + std::string(70, ']') + "}"), "malformed_json");
    EXPECT_EQ(refused(request_of("POST", "/api/v2/sync-schedules")).code, "body_missing");
}

TEST(OperationRequest, DeepJsonIsTakenUpToTheBound) {
    const std::string body = R"({"connection_id":1,"name":"a","schedule_type":"daily","config":{"a":)" +
                             std::string(60, '[') + std::string(60, ']') + "}}";
    EXPECT_EQ(taken(request_of("POST", "/api/v2/sync-schedules", body)).body, body);
}

TEST(OperationRequest, AsksForAContentType) {
    HttpRequest request = request_of("POST", "/api/v2/sync-schedules", "{}");
    request.headers.clear();
    EXPECT_EQ(refused(request).status, 415U);
    request.headers.emplace_back("content-type", "text/plain");
    EXPECT_EQ(refused(request).status, 415U);
}

TEST(OperationRequest, BodiesThatMayBeLeftAwayAreEmptyObjects) {
    EXPECT_EQ(taken(request_of("POST", "/api/v2/sync-schedules/1/pause")).body, "{}");
}

TEST(OperationRequest, GoesOnAfterACursorOfTheSameList) {
    const OperationRequest first = taken(request_of("GET", "/api/v2/sync-schedules?sort=-name&name=x"));
    const std::string cursor = make_page_cursor(*first.order, first.filters, R"(["n\"ame",17])");
    const OperationRequest next =
        taken(request_of("GET", "/api/v2/sync-schedules?name=x&sort=-name&limit=3&cursor=" + cursor));
    EXPECT_EQ(next.order->after, R"(["n\"ame",17])");
    EXPECT_NE(next.parameters.find(R"("after":["n\"ame",17])"), std::string::npos) << next.parameters;
    for (const char* query : {"sort=name&name=x", "sort=-name", "sort=-name&name=y", "sort=-id&name=x"}) {
        const Problem problem =
            refused(request_of("GET", "/api/v2/sync-schedules?" + std::string(query) + "&cursor=" + cursor));
        EXPECT_EQ(problem.code, "invalid_cursor") << query;
    }
}

TEST(UrlDecode, ReadsQueries) {
    const auto pairs = parse_query("a=1&&b&c=%3D%26&=x");
    ASSERT_TRUE(pairs.has_value());
    EXPECT_EQ(*pairs, (std::vector<std::pair<std::string, std::string>>{
                          {"a", "1"}, {"b", ""}, {"c", "=&"}, {"", "x"}}));
    EXPECT_EQ(url_decode("a+b%2B", true), "a b+");
    EXPECT_EQ(url_decode("a+b", false), "a+b");
    EXPECT_EQ(url_decode("%c3%a9", false), "\xc3\xa9");
}

}  // namespace
}  // namespace sync_engine

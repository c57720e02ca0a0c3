// The function connector's replies: pages, problems, and everything that is neither.
#include "connectors/function_reply.hpp"

#include <string>

#include <gtest/gtest.h>

#include "connectors/excerpt.hpp"
#include "connectors/function_connector.hpp"
#include "unit/connector_support.hpp"

namespace sync_engine {
namespace {

using namespace std::string_literals;

const TimestampUs kNow = *parse_utc("2026-03-01T12:00:00Z");

Outcome reply(long status, std::string body, Headers headers = {}) {
    HttpResponse response;
    response.status = status;
    response.body = std::move(body);
    response.headers = std::move(headers);
    return function_connector()->interpret(Job{}, ApiRequest{}, response, kNow);
}

Page page_of(std::string body) {
    Outcome outcome = reply(200, std::move(body));
    EXPECT_EQ(summary(outcome), "page");
    return std::holds_alternative<Page>(outcome) ? std::get<Page>(std::move(outcome)) : Page{};
}

TEST(FunctionReply, BringsAPage) {
    const Page page = page_of(
        R"({"signals":[{"kind":"order","occurred_at":"2026-03-01T00:00:00Z","dedupe_key":"a","payload":{"total":2500.2500}},
        {"kind":null,"dedupe_key":12345678901234567890,"extra":1}, {}],"next_cursor":{"after":1e400},"has_more":true,"rate_limit":{"remaining":3}})");
    ASSERT_EQ(page.signals.size(), 3U);
    EXPECT_EQ(
        page.signals[0],
        R"({"kind":"order","occurred_at":"2026-03-01T00:00:00Z","dedupe_key":"a","payload":{"total":2500.2500}})");
    EXPECT_EQ(page.signals[1], R"({"kind":null,"dedupe_key":12345678901234567890,"extra":1})");
    EXPECT_EQ(page.next_cursor_json, R"({"after":1e400})");
    EXPECT_TRUE(page.has_more);
    EXPECT_EQ(page.stats_json, R"({"signals":3,"rate_limit":{"remaining":3}})");
}

TEST(FunctionReply, MayBeEmpty) {
    for (const auto* body : {"{}", R"({"signals":null,"next_cursor":null,"has_more":null,"rate_limit":null})",
                             R"({"signals":[],"has_more":false})", "\xEF\xBB\xBF{}", " {\n} "}) {
        const Page page = page_of(body);
        EXPECT_TRUE(page.signals.empty());
        EXPECT_EQ(page.next_cursor_json, "");
        EXPECT_FALSE(page.has_more);
        EXPECT_EQ(page.stats_json, R"({"signals":0})");
    }
    EXPECT_EQ(summary(reply(201, "{}")), "page");
    // A cursor of any type but null is a cursor.
    for (const auto* cursor : {"0", "false", "\"\"", "[]", "{}", "-1.50"}) {
        EXPECT_EQ(page_of(R"({"has_more":true,"next_cursor":)"s + cursor + "}").next_cursor_json, cursor);
    }
}

TEST(FunctionReply, CountsWhatItHadToReplace) {
    const Page page = page_of("{\"signals\":[{\"payload\":\"\xFF\\u0000\\ud800\"}]}");
    EXPECT_EQ(page.signals[0], "{\"payload\":\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"}");
    EXPECT_EQ(json_at(page.stats_json, {"replaced_characters"}), "3");
}

TEST(FunctionReply, NamesTheSignalThatIsBad) {
    const auto fault = [](const std::string& signals) {
        return summary(reply(200, "{\"signals\":" + signals + "}"));
    };
    EXPECT_EQ(fault("{}"), "permanent bad_reply: $.signals is a JSON object, not an array");
    EXPECT_EQ(fault("\"x\""), "permanent bad_reply: $.signals is a JSON string, not an array");
    EXPECT_EQ(fault("7"), "permanent bad_reply: $.signals is a JSON number, not an array");
    EXPECT_EQ(fault("[{},[]]"), "permanent bad_reply: $.signals[1] is a JSON array, not an object");
    EXPECT_EQ(fault("[null]"), "permanent bad_reply: $.signals[0] is a JSON null, not an object");
    for (const auto* kind : {"7", "\"\"", "{}", "true"}) {
        EXPECT_EQ(fault("[{},{},{\"kind\":"s + kind + "}]"),
                  "permanent bad_reply: $.signals[2].kind is not a non-empty string");
    }
    for (const auto* at :
         {"\"yesterday\"", "1772323200", "\"\"", "\"2026-02-30T00:00:00Z\"", "\"infinity\"", "{}"}) {
        EXPECT_EQ(fault("[{\"occurred_at\":"s + at + "}]"),
                  "permanent bad_reply: $.signals[0].occurred_at is not a time such as 2026-03-01T12:15:00Z");
    }
    for (const auto* key : {"{}", "[]", "false"}) {
        EXPECT_EQ(fault("[{\"dedupe_key\":"s + key + "}]"),
                  "permanent bad_reply: $.signals[0].dedupe_key is not a string");
    }
}

TEST(FunctionReply, NeedsACursorToGoOn) {
    for (const auto* body : {R"({"has_more":true})", R"({"has_more":true,"next_cursor":null})"}) {
        EXPECT_EQ(summary(reply(200, body)),
                  "permanent bad_reply: $.has_more is true and $.next_cursor is missing");
    }
    for (const auto* more : {"1", "\"true\"", "{}", "[]"}) {
        EXPECT_EQ(summary(reply(200, R"({"next_cursor":1,"has_more":)"s + more + "}")),
                  "permanent bad_reply: $.has_more is not true or false");
    }
}

TEST(FunctionReply, IsTriedAgainWhenItIsNoJson) {
    const auto starts = [](const Outcome& outcome, std::string_view with) {
        EXPECT_TRUE(summary(outcome).starts_with("transient not_json: " + std::string(with)))
            << summary(outcome);
    };
    starts(reply(200, ""), "the reply is not a JSON object (The document is empty at byte 0)");
    starts(reply(204, ""), "the reply is not a JSON object (The document is empty at byte 0)");
    starts(reply(200, "[]"), "the reply is not a JSON object: []");
    starts(reply(200, "null"), "the reply is not a JSON object: null");
    starts(reply(200, "\"x\""), "the reply is not a JSON object: \"x\"");
    starts(reply(200, "7"), "the reply is not a JSON object: 7");
    starts(reply(200, "<html><body>Sign in</body></html>"),
           "the reply is not a JSON object (Invalid value at byte 0): <html>");
    starts(reply(200, R"({"signals":[{"kind":"a"})"),
           "the reply is not a JSON object (Missing a comma or ']'");
    starts(reply(200, std::string(100'000, '[')),
           "the reply is not a JSON object (nested deeper than 200 levels");
    starts(reply(200, R"({"signals":)" + std::string(100'000, '[') + std::string(100'000, ']') + "}"),
           "the reply is not a JSON object (nested deeper");
    EXPECT_EQ(json_at(std::get<Failure>(reply(200, "x")).error_json, {"status"}), "200");
}

TEST(FunctionReply, StoresNoMoreThanAnExcerptInErrors) {
    for (const auto& body :
         {std::string(1'000'000, ' ') + "x", std::string(1'000'000, 'x'), std::string(1'000'000, '\xFF'),
          std::string(1'000'000, '\0'), std::string(1'000'000, '"'), std::string(1'000'000, '\x01')}) {
        for (const long status : {200L, 500L}) {
            const auto failure = std::get<Failure>(reply(status, body));
            EXPECT_LT(failure.error_json.size(), 4'000U);
            // What is stored is JSON that PostgreSQL takes.
            EXPECT_EQ(clean_json(failure.error_json).replaced, 0U);
            EXPECT_EQ(json_at(failure.error_json, {"status"}), std::to_string(status));
        }
    }
}

TEST(Excerpt, DoesNotCutAWord) {
    EXPECT_EQ(excerpt_of("token=s3cr3t", 12), "token=s3cr3t");
    EXPECT_EQ(excerpt_of("your token: s3cr3t.", 15), "your token: ");
    EXPECT_EQ(excerpt_of("your token: s3cr3t, gone", 18), "your token: s3cr3t");
    EXPECT_EQ(excerpt_of("s3cr3t-s3cr3t", 6), "");
    EXPECT_EQ(excerpt_of("a b c", 0), "");
    EXPECT_EQ(excerpt_of("", 5), "");
    EXPECT_EQ(excerpt_of(std::string(1000, '.')), "");
    EXPECT_EQ(excerpt_of(std::string(1000, ' ')).size(), kExcerptBytes);
}

TEST(FunctionReply, DoesNotCutASecretThatIsEchoed) {
    // The executor removes whole secrets from messages; half of one it would not know.
    const std::string secret = "s3cr3t-t0ken";
    for (std::size_t before = kExcerptBytes - 2 * secret.size(); before < kExcerptBytes; ++before) {
        const std::string body = std::string(before - 1, '.') + " " + secret + " and more";
        for (const auto& text : {body, R"({"title":")" + body + "\"}", R"({"detail":")" + body + "\"}",
                                 R"({"type":")" + body + "\"}"}) {
            std::string json = std::get<Failure>(reply(500, text)).error_json;
            while (json.find(secret) != std::string::npos) {
                json.erase(json.find(secret), secret.size());
            }
            EXPECT_EQ(json.find("s3cr"), std::string::npos) << before << json;
        }
    }
}

TEST(FunctionStatus, DecidesTheKindOfFailure) {
    const auto kind = [](long status) {
        return failure_kind_name(std::get<Failure>(reply(status, "")).kind);
    };
    for (const long status :
         {100L, 204L + 96L, 301L, 302L, 304L, 307L, 308L, 400L, 404L, 405L, 409L, 410L, 413L, 422L, 451L}) {
        EXPECT_EQ(kind(status), "permanent") << status;
    }
    for (const long status : {408L, 425L, 500L, 502L, 503L, 504L, 520L, 599L, 999L}) {
        EXPECT_EQ(kind(status), "transient") << status;
    }
    EXPECT_EQ(kind(401), "unauthorized");
    EXPECT_EQ(kind(403), "unauthorized");
    EXPECT_EQ(kind(429), "rate_limited");
    EXPECT_EQ(summary(reply(503, "")), "transient http_status: status 503");
    EXPECT_EQ(summary(reply(502, "<html>Bad\nGateway")),
              "transient http_status: status 502: <html>Bad\nGateway");
}

TEST(FunctionProblem, TellsWhatIsWrong) {
    const Outcome outcome = reply(
        422,
        R"({"type":"https://fn.example/problems/quota","title":"Over quota","detail":"3 of 2 used","status":422})");
    EXPECT_EQ(summary(outcome),
              "permanent https://fn.example/problems/quota: status 422: Over quota: 3 of 2 used");
    EXPECT_EQ(json_at(std::get<Failure>(outcome).error_json, {"status"}), "422");
    // Members of other types are passed by.
    EXPECT_EQ(
        summary(reply(500, R"({"type":7,"title":{},"detail":["x"],"retryable":"no","retry_after_s":"9"})")),
        "transient http_status: status 500");
    EXPECT_EQ(summary(reply(500, "[1]")), "transient http_status: status 500: [1]");
    EXPECT_EQ(summary(reply(500, "{\"title\":\"a\\u0000b\xFF\"}")),
              "transient http_status: status 500: a\xEF\xBF\xBD"
              "b\xEF\xBF\xBD");
}

TEST(FunctionProblem, MayCutACharacterInTwo) {
    // 299 bytes, then characters of two and three bytes across the limit.
    for (const auto* key : {"type", "title", "detail"}) {
        for (const std::size_t before : {298U, 299U, 300U}) {
            std::string text = std::string(before, ' ') + "\xC3\xA9\xE2\x82\xAC";
            const Outcome outcome = reply(500, "{\""s + key + "\":\"" + text + "\"}");
            EXPECT_EQ(clean_json(std::get<Failure>(outcome).error_json).replaced, 0U) << key << before;
        }
    }
}

TEST(FunctionProblem, SaysWhetherToTryAgain) {
    const auto kind = [](long status, std::string body) {
        return failure_kind_name(std::get<Failure>(reply(status, std::move(body))).kind);
    };
    EXPECT_EQ(kind(422, R"({"retryable":true})"), "transient");
    EXPECT_EQ(kind(404, R"({"retryable":false})"), "permanent");
    EXPECT_EQ(kind(500, R"({"retryable":false})"), "permanent");
    EXPECT_EQ(kind(503, R"({"retryable":true})"), "transient");
    // What the connection's credentials or the rate limit decide is not up to it.
    EXPECT_EQ(kind(401, R"({"retryable":true})"), "unauthorized");
    EXPECT_EQ(kind(429, R"({"retryable":false})"), "rate_limited");
    for (const auto* odd : {"1", "\"true\"", "null", "{}"}) {
        EXPECT_EQ(kind(422, R"({"retryable":)"s + odd + "}"), "permanent");
    }
}

TEST(FunctionProblem, SaysWhen) {
    const auto wait = [](std::string body, Headers headers = {}) {
        return std::get<Failure>(reply(429, std::move(body), std::move(headers))).retry_after_seconds;
    };
    EXPECT_EQ(wait(""), std::nullopt);
    EXPECT_EQ(wait("", {{"retry-after", "30"}}), 30.0);
    EXPECT_EQ(wait("", {{"RETRY-AFTER", "Sun, 01 Mar 2026 12:01:30 GMT"}}), 90.0);
    EXPECT_EQ(wait(R"({"retry_after_s":12.5})"), 12.5);
    EXPECT_EQ(wait(R"({"retry_after_s":0})"), 0.0);
    // The header comes first, unless nothing can be read in it.
    EXPECT_EQ(wait(R"({"retry_after_s":12})", {{"Retry-After", "30"}}), 30.0);
    EXPECT_EQ(wait(R"({"retry_after_s":12})", {{"Retry-After", "soon"}}), 12.0);
    for (const auto* odd : {"-1", "\"12\"", "null", "[12]", "1e400"}) {
        EXPECT_EQ(wait(R"({"retry_after_s":)"s + odd + "}"), std::nullopt) << odd;
    }
    EXPECT_EQ(std::get<Failure>(reply(503, "", {{"Retry-After", "5"}})).retry_after_seconds, 5.0);
}

TEST(FunctionTransport, DecidesTheKindOfFailure) {
    const auto failed = [](std::string code) {
        HttpResponse response;
        response.error_code = std::move(code);
        response.error_message = "it \"broke\"\xFF";
        response.status = 200;
        response.body = R"({"signals":[]})";
        return summary(read_function_reply(ApiRequest{}, response, kNow));
    };
    EXPECT_EQ(failed("body_too_large"), "permanent body_too_large: the reply is larger than 33554432 bytes");
    EXPECT_EQ(failed("blocked_address"), "permanent blocked_address: it \"broke\"\xEF\xBF\xBD");
    for (const auto* code : {"timeout", "connect", "tls", "other"}) {
        EXPECT_EQ(failed(code), "transient "s + code + ": it \"broke\"\xEF\xBF\xBD");
    }
}

}  // namespace
}  // namespace sync_engine

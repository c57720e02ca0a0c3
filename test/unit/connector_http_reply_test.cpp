// What the `http` connector makes of replies, above all of bad ones.
#include "connectors/http_failure.hpp"
#include "unit/connector_http_support.hpp"

namespace sync_engine::http_test {
namespace {

const char* const kConfig = R"({"base_url":"https://a.example","records":"/items"})";

Failure transport(const std::string& code, const std::string& message = "") {
    Bench bench(R"({"base_url":"https://a.example","max_body_bytes":4096})");
    return std::get<Failure>(bench.reply(HttpResponse{0, {}, "", code, message}));
}

TEST(HttpReply, NoReplyAtAll) {
    for (const char* code : {"timeout", "connect", "tls", "other", "something new"}) {
        const Failure failure = transport(code, "it went wrong");
        EXPECT_EQ(failure.kind, FailureKind::transient) << code;
        EXPECT_EQ(part(failure.error_json, "code"), "\"" + std::string(code) + "\"");
        EXPECT_EQ(part(failure.error_json, "message"), "\"it went wrong\"");
        EXPECT_FALSE(failure.retry_after_seconds);
    }
    EXPECT_EQ(part(transport("timeout").error_json, "message"), "\"no reply: timeout\"");
    EXPECT_EQ(transport("blocked_address").kind, FailureKind::permanent);
    const Failure large = transport("body_too_large");
    EXPECT_EQ(large.kind, FailureKind::permanent);
    EXPECT_TRUE(has(large.error_json, "longer than 4096 bytes"));
}

TEST(HttpReply, NotJson) {
    Bench bench(kConfig);
    const Failure html = bench.failure("<!DOCTYPE html><html><body>Maintenance</body></html>");
    EXPECT_EQ(html.kind, FailureKind::transient);
    EXPECT_EQ(part(html.error_json, "code"), "\"not_json\"");
    EXPECT_TRUE(has(html.error_json, "<!DOCTYPE html>"));
    for (const std::string& body :
         {std::string(), std::string("{"), std::string("[1,]"), std::string("NaN"),
          std::string("{\"items\":[]}x"), std::string(10, '\0'), std::string("\xFF\xFE{}"),
          std::string("{'items':[]}"), std::string("01"), std::string("\"\\x\"")}) {
        const Failure failure = bench.failure(body);
        EXPECT_EQ(failure.kind, FailureKind::transient);
        EXPECT_EQ(part(failure.error_json, "code"), "\"not_json\"");
    }
    EXPECT_LT(bench.failure("<" + std::string(1'000'000, 'x')).error_json.size(), 500U);
}

TEST(HttpReply, DeepNestingDoesNotOverflowTheStack) {
    Bench bench(kConfig);
    for (const char* open : {"[", "{\"a\":", "[{\"a\":"}) {
        std::string body;
        while (body.size() < 4'000'000) {
            body += open;
        }
        EXPECT_EQ(bench.failure(body).kind, FailureKind::transient);
    }
    const std::string deep = std::string(150, '[') + std::string(150, ']');
    EXPECT_EQ(bench.page("{\"items\":[" + deep + "]}").signals.size(), 1U);
}

TEST(HttpReply, RecordsThatAreNotThere) {
    Bench bench(kConfig);
    const Failure missing = bench.failure(R"({"ok":false,"error":"ratelimited"})");
    EXPECT_EQ(missing.kind, FailureKind::permanent);
    EXPECT_EQ(part(missing.error_json, "message"),
              R"("records: $.items is missing; the reply begins: {\"ok\":false,\"error\":\"ratelimited\"}")");
    EXPECT_TRUE(has(bench.failure(R"({"items":{"a":1}})").error_json, "is a JSON object, not an array"));
    EXPECT_TRUE(has(bench.failure(R"({"items":"x"})").error_json, "is a JSON string, not an array"));
    EXPECT_TRUE(has(bench.failure("[]").error_json, "is missing"));
    EXPECT_TRUE(has(bench.failure("7").error_json, "is missing"));
    EXPECT_TRUE(bench.page(R"({"items":null})").signals.empty());
    EXPECT_TRUE(bench.page("null").signals.empty());
    EXPECT_TRUE(bench.page("", {}, 204).signals.empty());
    EXPECT_EQ(bench.failure("", {}, 200).kind, FailureKind::transient);
}

TEST(HttpReply, ByteOrderMark) {
    EXPECT_EQ(Bench(kConfig).page("\xEF\xBB\xBF{\"items\":[1]}").signals.size(), 1U);
}

TEST(HttpReply, Statuses) {
    const std::vector<std::pair<long, FailureKind>> cases = {
        {400, FailureKind::permanent},    {401, FailureKind::unauthorized}, {403, FailureKind::unauthorized},
        {404, FailureKind::permanent},    {408, FailureKind::transient},    {409, FailureKind::permanent},
        {410, FailureKind::permanent},    {422, FailureKind::permanent},    {425, FailureKind::transient},
        {429, FailureKind::rate_limited}, {500, FailureKind::transient},    {502, FailureKind::transient},
        {503, FailureKind::transient},    {504, FailureKind::transient},    {301, FailureKind::permanent},
        {304, FailureKind::permanent},    {100, FailureKind::permanent},    {0, FailureKind::permanent}};
    for (const auto& [status, kind] : cases) {
        EXPECT_EQ(Bench(kConfig).failure("{}", {}, status).kind, kind) << status;
    }
}

TEST(HttpReply, WaitingTimes) {
    const auto wait = [](long status, const Headers& headers) {
        return Bench(kConfig).failure("{}", headers, status).retry_after_seconds;
    };
    EXPECT_EQ(wait(429, {}), 60.0);
    EXPECT_EQ(wait(429, {{"Retry-After", "2"}, {"X-RateLimit-Reset", "1772366430"}}), 2.0);
    EXPECT_EQ(wait(429, {{"X-RateLimit-Remaining", "0"}, {"X-RateLimit-Reset", "1772366430"}}), 30.0);
    EXPECT_EQ(wait(429, {{"X-RateLimit-Reset", "1772366430"}}), 30.0);
    // Another limit than the one whose budget is told.
    EXPECT_EQ(wait(429, {{"X-RateLimit-Remaining", "4000"}, {"X-RateLimit-Reset", "1772369000"}}), 60.0);
    EXPECT_EQ(wait(503, {{"Retry-After", "120"}}), 120.0);
    EXPECT_EQ(wait(500, {{"X-RateLimit-Remaining", "0"}, {"X-RateLimit-Reset", "1772366430"}}), std::nullopt);
    EXPECT_EQ(wait(404, {}), std::nullopt);
}

TEST(HttpReply, ForbiddenOrLimited) {
    const auto kind = [](const std::string& body, const Headers& headers) {
        return Bench(kConfig).failure(body, headers, 403).kind;
    };
    EXPECT_EQ(kind("{}", {}), FailureKind::unauthorized);
    EXPECT_EQ(kind("{}", {{"X-RateLimit-Remaining", "10"}}), FailureKind::unauthorized);
    EXPECT_EQ(kind("{}", {{"X-RateLimit-Remaining", "0"}}), FailureKind::rate_limited);
    EXPECT_EQ(kind("{}", {{"RateLimit", "\"p\";r=0;t=9"}}), FailureKind::rate_limited);
    EXPECT_EQ(kind("{}", {{"Retry-After", "9"}}), FailureKind::rate_limited);
    EXPECT_EQ(kind("{}", {{"Retry-After", "garbage"}}), FailureKind::unauthorized);
    EXPECT_EQ(kind(R"({"message":"You have exceeded a secondary Rate Limit."})", {}),
              FailureKind::rate_limited);
}

TEST(HttpReply, StatusMapDecides) {
    Bench bench(
        R"({"base_url":"https://a","status_map":{"404":"transient","401":"rate_limited","500":"permanent","302":"transient"}})");
    EXPECT_EQ(bench.failure("{}", {}, 404).kind, FailureKind::transient);
    EXPECT_EQ(bench.failure("{}", {{"Retry-After", "4"}}, 401).kind, FailureKind::rate_limited);
    EXPECT_EQ(bench.failure("{}", {{"Retry-After", "4"}}, 401).retry_after_seconds, 4.0);
    EXPECT_EQ(bench.failure("{}", {}, 500).kind, FailureKind::permanent);
    EXPECT_EQ(bench.failure("{}", {}, 302).kind, FailureKind::transient);
}

TEST(HttpReply, SaysWhatTheServerSays) {
    const auto message = [](const std::string& body, long status = 422, const Headers& headers = {}) {
        return part(Bench(kConfig).failure(body, headers, status).error_json, "message");
    };
    EXPECT_EQ(message(R"({"message":"Validation Failed"})"), "\"status 422: Validation Failed\"");
    EXPECT_EQ(message(R"({"title":"T","detail":"D"})"), "\"status 422: D\"");
    EXPECT_EQ(message(R"({"error":{"message":"inner"}})"), "\"status 422: inner\"");
    EXPECT_EQ(message(R"({"error":"text"})"), "\"status 422: text\"");
    EXPECT_EQ(message("plain"), "\"status 422: plain\"");
    EXPECT_EQ(message(""), "\"status 422\"");
    EXPECT_EQ(message("\xFF\x01"), "\"status 422: \xEF\xBF\xBD\\u0001\"");
    EXPECT_EQ(message("", 301, {{"Location", "https://b/x"}}),
              "\"status 301: redirects are not followed; this one leads to https://b/x\"");
}

TEST(HttpReply, SecretsDoNotComeBackInErrors) {
    Bench bench(R"({"base_url":"https://a.example","auth":{"type":"bearer","token":{"$env":"T"}},
        "headers":{"X-Second":{"$file":"f"}},"query":{"k":{"$env":"K"}}})");
    bench.secrets.env_values = {{"T", "tok/en1"}, {"K", "key&1"}};
    bench.secrets.files = {{"f", "filesecret"}};
    const std::string echo = "you sent tok/en1, tok%2Fen1, filesecret and k=key%261 or key&1";
    for (const Failure& failure :
         {bench.failure(echo, {}, 400), bench.failure(R"({"message":")" + echo + "\"}", {}, 401),
          bench.failure(echo), bench.failure(R"({"x":")" + echo + "\"}"),
          bench.failure("", {{"Location", "https://b/?" + echo}}, 302),
          std::get<Failure>(bench.reply(HttpResponse{0, {}, "", "other", echo})),
          bench.failure(std::string(296, '.') + echo, {}, 400)}) {
        for (const char* secret : {"tok/en1", "tok%2F", "filesecret", "key%26", "key&1", "tok/"}) {
            EXPECT_FALSE(has(failure.error_json, secret)) << failure.error_json;
        }
    }
    Bench basic(
        R"({"base_url":"https://a.example","auth":{"type":"basic","username":"user","password":"pass:word"}})");
    const Failure failure = basic.failure("pass:word dXNlcjpwYXNzOndvcmQ=", {}, 400);
    EXPECT_EQ(part(failure.error_json, "message"), "\"status 400: [redacted] [redacted]\"");
}

TEST(HttpReply, ConfigurationThatChangedMeanwhile) {
    Bench bench(kConfig);
    const ApiRequest request = bench.request();
    for (const char* config :
         {"{}", "[", R"({"base_url":5})", R"({"base_url":"https://b","sync_engine":{"refused":"no"}})"}) {
        bench.job.config_json = config;
        const Outcome outcome =
            http_connector()->interpret(bench.job, request, {200, {}, "[]", "", ""}, kNow);
        ASSERT_TRUE(std::holds_alternative<Failure>(outcome)) << config;
        EXPECT_EQ(std::get<Failure>(outcome).kind, FailureKind::permanent);
    }
}

TEST(HttpReply, StatsOfAPage) {
    Bench bench(R"({"base_url":"https://a","cursor":{"max_of":"/at"}})");
    const Page page =
        bench.page(R"([{"at":1},{}])", {{"X-RateLimit-Remaining", "0"}, {"X-RateLimit-Reset", "1772366430"}});
    EXPECT_EQ(page.stats_json, R"({"records":2,"page":1,"bytes":13,"without_cursor_field":1,"status":200,)"
                               R"("rate_limit":{"remaining":0,"reset_seconds":30}})");
}

TEST(HttpReply, ManyRecords) {
    std::string body = "[0";
    for (int i = 1; i < 50'000; ++i) {
        body += "," + std::to_string(i);
    }
    EXPECT_EQ(Bench(R"({"base_url":"https://a"})").page(body + "]").signals.size(), 50'000U);
}

// Whatever comes: an outcome, and JSON in it.
TEST(HttpReply, MutilatedRepliesNeverBreakIt) {
    const std::string good =
        "{\"items\":[{\"id\":1,\"at\":\"2026-03-01T12:00:00Z\",\"n\":2500.2500},{\"id\":2,\"s\":"
        "\"\\u00e4\\ud83d\\ude00\"}],"
        "\"next\":\"abc\"}";
    Bench bench(
        R"({"base_url":"https://a","records":"/items","mapping":{"dedupe_key":"{{record.id}}","occurred_at":"/at"},
        "cursor":{"max_of":"/at"},"paging":{"type":"next_url","pointer":"/next"}})");
    unsigned random = 12345;
    const auto next = [&] { return (random = random * 1'664'525U + 1'013'904'223U) >> 8U; };
    for (int round = 0; round < 5000; ++round) {
        std::string body = good;
        for (unsigned changes = 1 + next() % 4; changes > 0; --changes) {
            body[next() % body.size()] = static_cast<char>(next());
        }
        body.resize(next() % 8 == 0 ? next() % body.size() : body.size());
        const Outcome outcome = bench.reply(
            body, {{"Link", body}, {"RateLimit", body}, {"Retry-After", body}}, next() % 5 == 0 ? 403 : 200);
        std::vector<std::string> texts;
        if (const auto* page = std::get_if<Page>(&outcome)) {
            texts = page->signals;
            texts.push_back(page->next_cursor_json.empty() ? "{}" : page->next_cursor_json);
            texts.push_back(page->stats_json);
        } else {
            texts.push_back(std::get<Failure>(outcome).error_json);
        }
        for (const std::string& text : texts) {
            rapidjson::Document document;
            std::string error;
            ASSERT_TRUE(parse_json(text, document, error)) << text;
            ASSERT_EQ(clean_json(text).replaced, 0U);
        }
    }
}

}  // namespace
}  // namespace sync_engine::http_test

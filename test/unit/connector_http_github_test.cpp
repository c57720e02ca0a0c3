// The github-issues preset from the first request to the end of a run, as the demo uses it.
#include "unit/connector_http_support.hpp"

namespace sync_engine::http_test {
namespace {

const char* const kConfig =
    R"({"preset":"github-issues","base_url":"http://127.0.0.1:8080","owner":"octo","repo":"hello",
    "auth":{"type":"bearer","token":{"$env":"GITHUB_TOKEN"}}})";

std::string issue(int id, const std::string& updated) {
    return R"({"id":)" + std::to_string(id) + R"(,"number":)" + std::to_string(id) + R"(,"updated_at":")" +
           updated + R"(","amount":2500.2500,"big":12345678901234567890})";
}

Bench github(std::string cursor = "") {
    Bench bench(kConfig, std::move(cursor));
    bench.secrets.env_values["GITHUB_TOKEN"] = "ghp_abcdef";
    return bench;
}

TEST(HttpGithub, FirstRequestAsksForEverything) {
    Bench bench = github();
    const ApiRequest request = bench.request();
    EXPECT_EQ(request.method, "GET");
    EXPECT_EQ(
        request.url,
        "http://127.0.0.1:8080/repos/octo/hello/issues?state=all&sort=updated&direction=desc&per_page=100");
    EXPECT_EQ(header_of(request, "Accept"), "application/vnd.github+json");
    EXPECT_EQ(header_of(request, "X-GitHub-Api-Version"), "2022-11-28");
    EXPECT_EQ(header_of(request, "Authorization"), "Bearer ghp_abcdef");
    EXPECT_EQ(bench.secrets.hosts, std::vector<std::string>{"127.0.0.1"});
}

TEST(HttpGithub, RepositoryMayBeWrittenInOneKey) {
    Bench bench(R"({"preset":"github-issues","repo":"octo/hello world"})");
    EXPECT_TRUE(bench.request().url.starts_with("https://api.github.com/repos/octo/hello%20world/issues?"));
}

TEST(HttpGithub, MapsIssuesAndKeepsNumbersAsWritten) {
    Bench bench = github();
    const Page page = bench.page("[" + issue(1, "2026-03-01T10:00:00Z") + "]");
    ASSERT_EQ(page.signals.size(), 1U);
    EXPECT_EQ(page.signals[0],
              R"({"kind":"issue","occurred_at":"2026-03-01T10:00:00Z","dedupe_key":"1@2026-03-01T10:00:00Z",)"
              R"("payload":{"id":1,"number":1,"updated_at":"2026-03-01T10:00:00Z","amount":2500.2500,)"
              R"("big":12345678901234567890}})");
    EXPECT_FALSE(page.has_more);
    EXPECT_EQ(page.next_cursor_json, R"({"watermark":"2026-03-01T10:00:00Z"})");
}

TEST(HttpGithub, FollowsLinksAndMovesTheWatermarkAtTheEnd) {
    Bench bench = github(R"({"watermark":"2026-02-01T00:00:00Z"})");
    EXPECT_TRUE(has(bench.request().url, "&since=2026-02-01T00%3A00%3A00Z"));
    const Page first = bench.land(
        "[" + issue(1, "2026-03-01T11:00:00Z") + "]",
        {{"link", "<http://127.0.0.1:8080/repositories/1/issues?page=2>; rel=\"next\", <x>; rel=\"last\""}});
    EXPECT_TRUE(first.has_more);
    EXPECT_EQ(part(first.next_cursor_json, "watermark"), "\"2026-02-01T00:00:00Z\"");
    EXPECT_EQ(part(first.next_cursor_json, "max"), "\"2026-03-01T11:00:00Z\"");
    EXPECT_EQ(bench.request().url, "http://127.0.0.1:8080/repositories/1/issues?page=2");
    EXPECT_EQ(header_of(bench.request(), "Authorization"), "Bearer ghp_abcdef");
    const Page last = bench.land("[" + issue(2, "2026-03-01T10:30:00Z") + "]");
    EXPECT_FALSE(last.has_more);
    EXPECT_EQ(last.next_cursor_json, R"({"watermark":"2026-03-01T11:00:00Z"})");
}

TEST(HttpGithub, QuietConnectionGetsNotModified) {
    Bench bench = github(R"({"watermark":"2026-03-01T10:00:00Z"})");
    bench.land("[" + issue(1, "2026-03-01T10:00:00Z") + "]", {{"ETag", "W/\"abc\""}});
    EXPECT_EQ(header_of(bench.request(), "If-None-Match"), "W/\"abc\"");
    const Page page = bench.page("", {}, 304);
    EXPECT_TRUE(page.signals.empty());
    EXPECT_TRUE(page.next_cursor_json.empty());
    EXPECT_EQ(part(page.stats_json, "not_modified"), "true");
}

TEST(HttpGithub, EtagIsForgottenWhereItDoesNotHold) {
    Bench bench = github(R"({"watermark":"2026-03-01T10:00:00Z"})");
    bench.land("[" + issue(1, "2026-03-01T11:00:00Z") + "]", {{"ETag", "\"abc\""}});
    // The watermark moved, so the next request is for another URL.
    EXPECT_EQ(header_of(bench.request(), "If-None-Match"), "(none)");

    Bench paged = github(R"({"watermark":"2026-03-01T10:00:00Z"})");
    paged.land("[" + issue(1, "2026-03-01T10:00:00Z") + "]",
               {{"ETag", "\"abc\""}, {"Link", "<?page=2>; rel=next"}});
    EXPECT_FALSE(has(paged.job.cursor_json, "etag"));
}

TEST(HttpGithub, StatusesAsTheDemoServesThem) {
    Bench bench = github();
    EXPECT_EQ(bench.failure(R"({"message":"Bad credentials"})", {}, 401).kind, FailureKind::unauthorized);
    EXPECT_EQ(bench.failure("{}", {}, 403).kind, FailureKind::unauthorized);
    EXPECT_EQ(bench.failure("{}", {}, 500).kind, FailureKind::transient);
    const Failure limited = bench.failure("{}", {{"Retry-After", "3"}}, 429);
    EXPECT_EQ(limited.kind, FailureKind::rate_limited);
    EXPECT_EQ(limited.retry_after_seconds, 3.0);
    const Failure exhausted =
        bench.failure("{}", {{"X-RateLimit-Remaining", "0"}, {"X-RateLimit-Reset", "1772366430"}}, 403);
    EXPECT_EQ(exhausted.kind, FailureKind::rate_limited);
    EXPECT_EQ(exhausted.retry_after_seconds, 30.0);  // 2026-03-01T12:00:30Z
}

}  // namespace
}  // namespace sync_engine::http_test

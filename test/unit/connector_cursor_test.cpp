#include <gtest/gtest.h>

#include "connectors/cursor.hpp"
#include "unit/connector_http_support.hpp"

namespace sync_engine::http_test {
namespace {

TEST(LaterMark, Times) {
    EXPECT_EQ(later_mark("", R"("2026-01-01")"), R"("2026-01-01")");
    EXPECT_EQ(later_mark(R"("2026-01-01")", ""), R"("2026-01-01")");
    EXPECT_EQ(later_mark(R"("2026-01-01T00:00:00Z")", R"("2025-12-31T23:59:59.9Z")"),
              R"("2026-01-01T00:00:00Z")");
    // By instant, not by text.
    EXPECT_EQ(later_mark(R"("2026-01-01T09:00:00Z")", R"("2026-01-01T08:30:00-02:00")"),
              R"("2026-01-01T08:30:00-02:00")");
    EXPECT_EQ(later_mark(R"("2026-01-01T00:00:00Z")", R"("2026-01-01T00:00:00+00:00")"),
              R"("2026-01-01T00:00:00Z")");
}

TEST(LaterMark, Numbers) {
    const std::vector<std::string> ascending = {"-10",
                                                "-9.5",
                                                "-9",
                                                "0",
                                                "0.5",
                                                "2",
                                                "10",
                                                "10.1",
                                                "11",
                                                "100",
                                                "12345678901234567890",
                                                "12345678901234567891"};
    for (std::size_t i = 1; i < ascending.size(); ++i) {
        EXPECT_EQ(later_mark(ascending[i - 1], ascending[i]), ascending[i]);
        EXPECT_EQ(later_mark(ascending[i], ascending[i - 1]), ascending[i]);
    }
    EXPECT_EQ(later_mark("10", "10.0"), "10");
    EXPECT_EQ(later_mark("1e3", "999"), "1e3");
    EXPECT_EQ(later_mark(R"("0012")", R"("9")"), R"("0012")");
    EXPECT_EQ(later_mark(R"("1700000000.000100")", R"("1700000000.000090")"), R"("1700000000.000100")");
}

TEST(LaterMark, TextsAndMixtures) {
    EXPECT_EQ(later_mark(R"("abc")", R"("abd")"), R"("abd")");
    EXPECT_EQ(later_mark(R"("2026-01-01")", R"("n/a")"), R"("2026-01-01")");
    EXPECT_EQ(later_mark(R"("n/a")", R"("2026-01-01")"), R"("2026-01-01")");
    EXPECT_EQ(later_mark("5", R"("2026-01-01")"),
              R"("2026-01-01")");  // the configuration now names another field
    EXPECT_EQ(later_mark(R"({"a":1})", "5"), "5");
}

CursorConfig lag(long seconds, TimeFormat format = TimeFormat::iso) {
    CursorConfig config;
    config.lag_seconds = seconds;
    config.format = format;
    return config;
}

TEST(LaggedMark, IsCappedAtTheRunsStartLessTheLag) {
    const TimestampUs started = kNow + 250'000;
    EXPECT_EQ(lagged_mark(R"("2026-03-01T12:30:00Z")", lag(0), started), R"("2026-03-01T12:00:00Z")");
    EXPECT_EQ(lagged_mark(R"("2026-03-01T11:59:58Z")", lag(60), started), R"("2026-03-01T11:59:00Z")");
    EXPECT_EQ(lagged_mark(R"("2026-03-01T11:58:00+00:00")", lag(60), started),
              R"("2026-03-01T11:58:00+00:00")");
    EXPECT_EQ(lagged_mark("", lag(60), started), "");
    EXPECT_EQ(lagged_mark(R"("n/a")", lag(60), started), R"("n/a")");
    EXPECT_EQ(lagged_mark("1772366399", lag(60, TimeFormat::epoch_seconds), started), "1772366340");
    EXPECT_EQ(lagged_mark("1772366300", lag(60, TimeFormat::epoch_seconds), started), "1772366300");
    EXPECT_EQ(lagged_mark(R"("1772366399.5")", lag(60, TimeFormat::epoch_seconds), started),
              R"("1772366340")");
    EXPECT_EQ(lagged_mark("1772366399000", lag(60, TimeFormat::epoch_milliseconds), started),
              "1772366340250");
    EXPECT_EQ(lagged_mark(R"("9999-01-01")", lag(60), kTimestampMin), R"("-4713-11-24T00:00:00Z")");
}

TEST(SyncCursor, ComesBackAsItWasWritten) {
    SyncCursor cursor;
    EXPECT_EQ(write_cursor(cursor), "{}");
    cursor.watermark_json = R"({"any":["thing",2500.2500]})";
    cursor.max_json = "12345678901234567890";
    cursor.etag = "W/\"a\\b\"";
    cursor.etag_of = "0123";
    cursor.restarted = true;
    cursor.page = PagePosition{"https://a/?b=\"c", "tok\xC3\xA4n", 7, 3, kNow, kNow + 5};
    const std::string json = write_cursor(cursor);
    const auto again = read_cursor(json);
    ASSERT_TRUE(again && again->page);
    EXPECT_EQ(write_cursor(*again), json);
    EXPECT_EQ(again->page->written, kNow + 5);
}

TEST(SyncCursor, OddMembersAreNothing) {
    const auto cursor = read_cursor(R"({"watermark":null,"max":null,"page":[],"etag":5,"restarted":"yes"})");
    ASSERT_TRUE(cursor);
    EXPECT_EQ(write_cursor(*cursor), "{}");
    const auto page = read_cursor(R"({"page":{"url":1,"token":[],"number":1.5,"count":-1,"started":"x"}})");
    ASSERT_TRUE(page && page->page);
    EXPECT_EQ(page->page->url + page->page->token, "");
    EXPECT_FALSE(page->page->number);
    EXPECT_EQ(page->page->count, 0);
    for (const char* bad : {"[]", "true", "{", "\x01", "{\"a\":1}x"}) {
        EXPECT_FALSE(read_cursor(bad)) << bad;
    }
    EXPECT_FALSE(read_cursor(std::string(100'000, '[')));
}

std::string config(const std::string& cursor) {
    return R"({"base_url":"https://a","records":"/items","paging":{"type":"cursor_param","pointer":"/next","param":"c"},
        "query":{"since":"{{cursor.watermark}}"},"cursor":)" +
           cursor + "}";
}

TEST(HttpCursor, NeverGoesBackwards) {
    Bench bench(config(R"({"max_of":"/at"})"), R"({"watermark":"2026-03-01T10:00:00Z"})");
    EXPECT_EQ(bench.land(R"({"items":[{"at":"2026-03-01T09:00:00Z"},{"at":null},{},{"at":""},{"at":{}},7]})")
                  .next_cursor_json,
              R"({"watermark":"2026-03-01T10:00:00Z"})");
    EXPECT_EQ(bench.land(R"({"items":[]})").next_cursor_json, R"({"watermark":"2026-03-01T10:00:00Z"})");
}

TEST(HttpCursor, DescendingPagesKeepTheCandidateUntilTheEnd) {
    Bench bench(config(R"({"max_of":"/at"})"));
    bench.land(R"({"items":[{"at":9},{"at":8}],"next":"x"})");
    EXPECT_FALSE(has(bench.request().url, "since"));
    EXPECT_TRUE(bench.request().url.ends_with("?c=x"));
    bench.land(R"({"items":[{"at":7}],"next":"y"})");
    EXPECT_EQ(part(bench.job.cursor_json, "max"), "9");
    EXPECT_EQ(bench.land(R"({"items":[{"at":1}]})").next_cursor_json, R"({"watermark":9})");
    EXPECT_TRUE(bench.request().url.ends_with("?since=9"));
}

TEST(HttpCursor, LagCountsFromTheRunsFirstPage) {
    Bench bench(config(R"({"max_of":"/at","lag_seconds":60})"));
    bench.land(R"({"items":[{"at":"2026-03-01T11:59:50Z"}],"next":"x"})");
    bench.now += 600 * kMicrosPerSecond;
    EXPECT_EQ(bench.land(R"({"items":[{"at":"2026-03-01T12:09:00Z"}]})").next_cursor_json,
              R"({"watermark":"2026-03-01T11:59:00Z"})");
    // Later runs do not fall behind it, even where the clock goes back.
    bench.now -= 3600 * kMicrosPerSecond;
    EXPECT_EQ(bench.land(R"({"items":[{"at":"2026-03-01T12:09:00Z"}]})").next_cursor_json,
              R"({"watermark":"2026-03-01T11:59:00Z"})");
}

TEST(HttpCursor, PointerIntoTheReply) {
    Bench bench(config(R"({"pointer":"/meta/since"})"));
    EXPECT_EQ(bench.land(R"({"items":[],"meta":{"since":"a"},"next":"x"})").next_cursor_json.substr(0, 10),
              R"({"max":"a")");
    EXPECT_EQ(bench.land(R"({"items":[]})").next_cursor_json,
              R"({"watermark":"a"})");  // the last page has none
    EXPECT_EQ(bench.land(R"({"items":[],"meta":{"since":null}})").next_cursor_json, R"({"watermark":"a"})");
    EXPECT_EQ(bench.land(R"({"items":[],"meta":{"since":12345678901234567890}})").next_cursor_json,
              R"({"watermark":12345678901234567890})");
    EXPECT_TRUE(bench.request().url.ends_with("?since=12345678901234567890"));
}

TEST(HttpCursor, EtagOfAFullPageIsNotKept) {
    const std::string base =
        R"({"base_url":"https://a","query":{"limit":2},"auth":{"type":"api_key","in":"query","name":"k",
        "value":"key1"}})";
    Bench part_page(base);
    part_page.land("[1]", {{"ETag", "\"e\""}});
    EXPECT_EQ(header_of(part_page.request(), "If-None-Match"), "\"e\"");
    Bench full(base);
    full.land("[1,2]", {{"ETag", "\"e\""}});
    EXPECT_EQ(header_of(full.request(), "If-None-Match"), "(none)");
    Bench long_one(base);
    long_one.land("[1]", {{"ETag", std::string(2000, 'e')}});
    EXPECT_EQ(header_of(long_one.request(), "If-None-Match"), "(none)");
}

}  // namespace
}  // namespace sync_engine::http_test

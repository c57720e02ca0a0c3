// The connector that calls nothing.
#include "connectors/noop_connector.hpp"

#include <set>
#include <string>

#include <gtest/gtest.h>

#include "unit/connector_support.hpp"

namespace sync_engine {
namespace {

const TimestampUs kNow = *parse_utc("2026-03-01T12:00:00Z");

Step prepare(std::string config, std::string cursor = "") {
    Job job;
    job.config_json = std::move(config);
    job.cursor_json = std::move(cursor);
    ListedSecrets secrets;
    return noop_connector()->prepare(job, secrets, kNow);
}

Page page_of(std::string config, std::string cursor = "") {
    return std::get<Page>(prepare(std::move(config), std::move(cursor)));
}

std::string faults(std::string_view config) {
    return listed(noop_connector()->validate(config));
}

TEST(Noop, DoesNothingUnlessTold) {
    for (const auto* config :
         {"", "{}", R"({"noop":{}})", R"({"noop":null})", R"({"other":1,"sync_engine":{}})"}) {
        const Page page = page_of(config, R"({"run":3})");
        EXPECT_TRUE(page.signals.empty());
        EXPECT_EQ(page.next_cursor_json, "");
        EXPECT_FALSE(page.has_more);
        EXPECT_EQ(page.stats_json, "{}");
    }
}

TEST(Noop, MakesSignals) {
    const Page page = page_of(R"({"noop":{"signals":3}})");
    ASSERT_EQ(page.signals.size(), 3U);
    EXPECT_EQ(
        page.signals[2],
        R"({"kind":"noop","occurred_at":"2026-03-01T12:00:00Z","dedupe_key":"0/0/2","payload":{"key":"0/0/2"}})");
    EXPECT_FALSE(page.has_more);
    EXPECT_EQ(page_of(R"({"noop":{"signals":0}})").signals.size(), 0U);
}

TEST(Noop, CountsRunsInTheCursor) {
    const auto* config = R"({"noop":{"cursor":true}})";
    EXPECT_EQ(page_of(config).next_cursor_json, R"({"run":1})");
    EXPECT_EQ(page_of(config, R"({"run":1})").next_cursor_json, R"({"run":2})");
    EXPECT_EQ(page_of(R"({"noop":{"cursor":false}})").next_cursor_json, "");
}

TEST(Noop, PagesUntilTheEndAndNeverRepeatsAKey) {
    const auto* config = R"({"noop":{"pages":3,"signals":2}})";
    std::string cursor;
    std::set<std::string> keys;
    int pages = 0;
    for (int run = 0; run < 2; ++run) {
        bool more = true;
        while (more) {
            const Page page = page_of(config, cursor);
            ++pages;
            for (const auto& signal : page.signals) {
                keys.insert(json_at(signal, {"dedupe_key"}));
            }
            more = page.has_more;
            ASSERT_FALSE(page.next_cursor_json.empty());
            ASSERT_NE(page.next_cursor_json, cursor);
            cursor = page.next_cursor_json;
            ASSERT_LE(pages, 6);
        }
        EXPECT_EQ(cursor, R"({"run":)" + std::to_string(run + 1) + "}");
    }
    EXPECT_EQ(pages, 6);
    EXPECT_EQ(keys.size(), 12U);
    // A cursor beyond the last page ends the run.
    EXPECT_FALSE(page_of(config, R"({"run":5,"page":7})").has_more);
}

TEST(Noop, TakesOddCursorsForNone) {
    const auto* config = R"({"noop":{"pages":2,"cursor":true}})";
    for (const auto* cursor :
         {"null", "[]", "7", "\"x\"", "{", "{}", R"({"run":"3","page":null})", R"({"run":1.5,"page":-1})",
          R"({"run":-5,"page":1e3})", R"({"run":9223372036854775807,"page":9223372036854775807})",
          R"({"run":99999999999999999999,"page":{}})"}) {
        EXPECT_EQ(page_of(config, cursor).next_cursor_json, R"({"run":0,"page":1})") << cursor;
    }
}

TEST(Noop, FailsWhenTold) {
    for (const auto* kind : {"transient", "rate_limited", "unauthorized", "permanent"}) {
        const Step step = prepare(std::string(R"({"noop":{"signals":1,"fail":")") + kind + R"("}})");
        EXPECT_EQ(summary(step), std::string(kind) + " noop: the configuration says so");
        EXPECT_EQ(std::get<Failure>(step).retry_after_seconds, std::nullopt);
    }
    const Step step = prepare(R"({"noop":{"fail":"rate_limited","retry_after_seconds":30}})");
    EXPECT_EQ(std::get<Failure>(step).retry_after_seconds, 30.0);
}

TEST(Noop, NamesWhatIsWrongWithItsConfiguration) {
    EXPECT_EQ(
        faults(
            R"({"noop":{"signals":1,"pages":2,"cursor":true,"fail":"permanent","retry_after_seconds":0}})"),
        "");
    EXPECT_EQ(faults(R"({"noop":[]})"), "$.noop: expected an object");
    EXPECT_EQ(faults(R"({"noop":{"sygnals":1}})"),
              "$.noop.sygnals: unknown key; known are signals, pages, cursor, fail, retry_after_seconds");
    for (const auto* bad : {"-1", "1.5", "\"1\"", "null", "1000001", "1e400", "99999999999999999999"}) {
        EXPECT_EQ(faults(std::string(R"({"noop":{"signals":)") + bad + "}}"),
                  "$.noop.signals: expected a whole number up to 1000000")
            << bad;
    }
    EXPECT_EQ(faults(R"({"noop":{"pages":0}})"), "$.noop.pages: expected a whole number up to 1000000");
    EXPECT_EQ(faults(R"({"noop":{"cursor":1,"fail":"lost"}})"),
              "$.noop.cursor: expected true or false; "
              "$.noop.fail: expected one of transient, rate_limited, unauthorized, permanent");
    EXPECT_EQ(faults(R"({"noop":{"fail":3}})"),
              "$.noop.fail: expected one of transient, rate_limited, unauthorized, permanent");
    EXPECT_EQ(faults(R"({"noop":{"retry_after_seconds":-1}})"),
              "$.noop.retry_after_seconds: expected a whole number");
    EXPECT_EQ(faults("[]"), "$: expected an object");
    EXPECT_TRUE(faults("{").starts_with("$: "));
}

TEST(Noop, FailsForGoodOnABadConfiguration) {
    EXPECT_EQ(summary(prepare(R"({"noop":{"pages":0}})")),
              "permanent bad_config: $.noop.pages: expected a whole number up to 1000000");
    EXPECT_TRUE(summary(prepare("{")).starts_with("permanent bad_config: $: "));
    EXPECT_EQ(summary(prepare("{\"noop\":{\"a\\\"b\":1}}")),
              "permanent bad_config: $.noop.a\"b: unknown key; known are signals, pages, cursor, fail, "
              "retry_after_seconds");
}

TEST(Noop, ExpectsNoReply) {
    EXPECT_EQ(summary(noop_connector()->interpret(Job{}, ApiRequest{}, HttpResponse{}, kNow)),
              "permanent noop: noop sends nothing");
}

}  // namespace
}  // namespace sync_engine

// That nothing a server has to tell is lost for good: rows that move while a run pages, odd dates, broken
// pagers, slow replies, incomplete configurations.
#include <algorithm>
#include <set>

#include "connectors/url_text.hpp"
#include "unit/connector_http_support.hpp"

namespace sync_engine::http_test {
namespace {

struct Item {
    int id;
    int at;  // seconds from kNow
};

std::string time_of(const Item& item) {
    return format_utc(add_seconds(kNow, item.at));
}

std::string parameter(const std::string& url, const std::string& name, const std::string& otherwise) {
    const auto values = parameter_values(url, name);
    return values.empty() ? otherwise : values.front();
}

// A listing that behaves as GitHub's: ordered by updated_at, `since` inclusive, pages by number.
class Listing {
  public:
    explicit Listing(int count) {
        for (int id = 1; id <= count; ++id) {
            items.push_back({id, -10'000 + 60 * id});
        }
    }

    HttpResponse serve(const std::string& url) const {
        std::vector<Item> shown = items;
        const std::string since = parameter(url, "since", "");
        std::erase_if(shown, [&](const Item& item) { return time_of(item) < since; });
        std::ranges::sort(shown, {}, [](const Item& item) { return std::pair(item.at, item.id); });
        if (parameter(url, "direction", "desc") == "desc") {
            std::ranges::reverse(shown);
        }
        const std::size_t size = std::stoul(parameter(url, "per_page", "30"));
        const std::size_t page = std::stoul(parameter(url, "page", "1"));
        HttpResponse response{200, {}, "[", "", ""};
        for (std::size_t i = (page - 1) * size; i < std::min(shown.size(), page * size); ++i) {
            response.body += (response.body.size() > 1 ? "," : "") + std::string("{\"id\":") +
                             std::to_string(shown[i].id) + R"(,"updated_at":")" + time_of(shown[i]) + "\"}";
        }
        response.body += "]";
        if (page * size < shown.size()) {
            const std::string next = with_parameter(url, "page", std::to_string(page + 1));
            response.headers = {{"Link", "<" + next + ">; rel=\"next\""}};
        }
        return response;
    }

    std::vector<Item> items;
};

// The dedupe keys that three runs land, with `item` changed after the page `after` of the first.
std::set<std::string> keys_of_three_runs(Listing& listing, std::size_t item, int after) {
    Bench bench(R"({"preset":"github-issues","repo":"a/b","query":{"per_page":10}})");
    std::set<std::string> keys;
    int pages = 0;
    for (int run = 0; run < 3; ++run) {
        for (bool more = true; more; ++pages) {
            const Page page = std::get<Page>(bench.reply(listing.serve(bench.request().url)));
            for (const std::string& signal : page.signals) {
                keys.insert(part(signal, "dedupe_key"));
            }
            bench.job.cursor_json = page.next_cursor_json;
            bench.now = add_seconds(bench.now, 5);
            if (pages + 1 == after) {
                listing.items[item].at = 5 * after;
            }
            more = page.has_more;
        }
        bench.now = add_seconds(bench.now, 900);
    }
    return keys;
}

TEST(HttpCompleteness, WhatChangesWhileARunPagesHidesNothing) {
    for (const std::size_t item : {0U, 4U, 14U, 24U}) {
        for (const int after : {1, 2}) {
            Listing listing(25);
            const auto keys = keys_of_three_runs(listing, item, after);
            for (const Item& one : listing.items) {
                EXPECT_TRUE(keys.contains("\"" + std::to_string(one.id) + "@" + time_of(one) + "\""))
                    << "item " << one.id << " with " << item << " changed after page " << after;
            }
        }
    }
}

Bench max_of(std::string more = "", std::string cursor = "") {
    return Bench(R"({"base_url":"https://api.example.com","cursor":{"max_of":"/at")" + more + "}}",
                 std::move(cursor));
}

TEST(HttpCompleteness, RowDatedInTheFutureDoesNotBecomeTheWatermark) {
    Bench iso = max_of();
    iso.land(R"([{"at":"2099-01-01T00:00:00Z"},{"at":"2026-03-01T11:00:00Z"}])");
    EXPECT_EQ(part(iso.job.cursor_json, "watermark"), R"("2026-03-01T12:00:00Z")");
    Bench epoch = max_of(R"(,"format":"epoch_seconds")");
    epoch.land(R"([{"at":4070908800}])");
    EXPECT_EQ(part(epoch.job.cursor_json, "watermark"), "1772366400");
    // Numbers that are no times, such as ids, have no future.
    Bench id = max_of();
    id.land(R"([{"at":4070908800}])");
    EXPECT_EQ(part(id.job.cursor_json, "watermark"), "4070908800");
}

TEST(HttpCompleteness, ClockThatWentBackDoesNotMoveTheWatermarkBack) {
    Bench bench = max_of("", R"({"watermark":"2026-02-01T00:00:00Z"})");
    bench.now = *parse_utc("1970-01-01");
    bench.land(R"([{"at":"2026-02-20T00:00:00Z"}])");
    EXPECT_EQ(part(bench.job.cursor_json, "watermark"), R"("2026-02-01T00:00:00Z")");
}

TEST(HttpCompleteness, OddValueDoesNotSpoilTheWatermark) {
    for (const char* rows : {R"([{"at":"2026-02-20T00:00:00Z"},{"at":"n/a"},{"at":"2026-02-10T00:00:00Z"}])",
                             R"([{"at":"2026-02-20T00:00:00Z"},{"at":"n/a"}])",
                             R"([{"at":"n/a"},{"at":"2026-02-20T00:00:00Z"},{"at":null},{}])"}) {
        Bench bench = max_of("", R"({"watermark":"2026-02-01T00:00:00Z"})");
        bench.land(rows);
        EXPECT_EQ(part(bench.job.cursor_json, "watermark"), R"("2026-02-20T00:00:00Z")") << rows;
    }
}

TEST(HttpCompleteness, LagIsReckonedFromTheRequest) {
    Bench bench = max_of(R"(,"lag_seconds":60)");
    const ApiRequest request = bench.request();
    EXPECT_EQ(request.prepared_at, kNow);
    const Outcome slow = http_connector()->interpret(
        bench.job, request, {200, {}, R"([{"at":"2026-03-01T12:00:00Z"}])", "", ""}, add_seconds(kNow, 50));
    EXPECT_EQ(part(std::get<Page>(slow).next_cursor_json, "watermark"), R"("2026-03-01T11:59:00Z")");
}

TEST(HttpCompleteness, PositionThatGrowsTooOldUnderWayIsStillReadAsOne) {
    Bench bench(
        R"({"base_url":"https://api.example.com","paging":{"type":"page_number","param":"p",
            "resume_within_seconds":3600}})",
        R"({"page":{"number":7,"count":6,"started":"2026-03-01T11:00:00Z","written":"2026-03-01T11:00:00Z"}})");
    const ApiRequest request = bench.request();
    EXPECT_TRUE(has(request.url, "p=7"));
    const Outcome late =
        http_connector()->interpret(bench.job, request, {200, {}, "[1]", "", ""}, add_seconds(kNow, 30));
    EXPECT_EQ(part(part(std::get<Page>(late).next_cursor_json, "page"), "number"), "8");
}

TEST(HttpCompleteness, PageThatLeadsToItselfDoesNotMoveTheWatermark) {
    const std::string config =
        R"({"base_url":"https://api.example.com/items","cursor":{"max_of":"/at"},"paging":{"type":"link_header"}})";
    const std::string cursor = R"({"watermark":"2026-02-01T00:00:00Z"})";
    const Headers itself = {{"Link", "</items>; rel=next"}};
    Bench full(config, cursor);
    const Page page = full.land(R"([{"at":"2026-02-20T00:00:00Z"}])", itself);
    EXPECT_FALSE(page.has_more);
    EXPECT_EQ(page.signals.size(), 1U);
    EXPECT_EQ(part(page.stats_json, "stopped"), "\"repeated_url\"");
    EXPECT_EQ(full.job.cursor_json, cursor);
    // An empty page that does so is the end of the listing.
    Bench ended(config, R"({"watermark":"2026-02-01T00:00:00Z","max":"2026-02-20T00:00:00Z","page":{"url":)"
                        R"("https://api.example.com/items","written":"2026-03-01T11:59:00Z","started":)"
                        R"("2026-03-01T11:59:00Z","count":1}})");
    ended.land("[]", itself);
    EXPECT_EQ(part(ended.job.cursor_json, "watermark"), R"("2026-02-20T00:00:00Z")");
}

TEST(HttpCompleteness, ServerThatSendsLessThanAskedForIsReadToItsEnd) {
    Bench bench(R"({"base_url":"https://api.example.com","paging":{"type":"offset","param":"offset",
        "limit_param":"limit","size":200}})");
    EXPECT_TRUE(bench.land("[1,2,3]").has_more);
    EXPECT_TRUE(has(bench.request().url, "offset=3&limit=200"));
    EXPECT_FALSE(bench.page("[]").has_more);
    const auto errors = http_connector()->validate(
        R"({"base_url":"https://h","paging":{"type":"offset","param":"o","stop_on_short_page":true}})");
    ASSERT_EQ(errors.size(), 1U);
    EXPECT_EQ(errors[0].path + ": " + errors[0].message, "$.paging.size: is required");
}

TEST(HttpCompleteness, ConfiguredFilterThatIsMissingIsNoWiderQuery) {
    for (const char* place : {"query", "headers"}) {
        Bench bench(R"({"base_url":"https://api.example.com",")" + std::string(place) +
                    R"(":{"workspace":"{{config.workspace}}"}})");
        const Failure failure = bench.refused();
        EXPECT_EQ(failure.kind, FailureKind::permanent);
        EXPECT_TRUE(has(failure.error_json, "{{config.workspace}} is missing")) << failure.error_json;
    }
}

TEST(HttpCompleteness, MembersOfACursorSetByHandStay) {
    Bench bench(
        R"({"base_url":"https://api.example.com","query":{"from":"{{cursor.from}}"},
            "cursor":{"max_of":"/at"},"paging":{"type":"link_header"}})",
        R"({"from":"2026-01-01","odd \" name":{"a":[1.50]}})");
    bench.land(R"([{"at":"2026-02-20T00:00:00Z"}])", {{"Link", "<?page=2>; rel=next"}});
    bench.land(R"([{"at":"2026-02-21T00:00:00Z"}])");
    EXPECT_TRUE(has(bench.request().url, "from=2026-01-01"));
    EXPECT_EQ(bench.job.cursor_json,
              R"({"watermark":"2026-02-21T00:00:00Z","from":"2026-01-01","odd \" name":{"a":[1.50]}})");
}

TEST(HttpCompleteness, KeySentAsUserNameIsKeptOutOfMessages) {
    Bench bench(
        R"({"base_url":"https://api.example.com","auth":{"type":"basic","username":{"$env":"K"},"password":""}})");
    bench.secrets.env_values["K"] = "sk_live_0123456789";
    const Failure failure = bench.failure(R"({"message":"Invalid API key sk_live_0123456789"})", {}, 401);
    EXPECT_TRUE(has(failure.error_json, "Invalid API key [redacted]")) << failure.error_json;
}

}  // namespace
}  // namespace sync_engine::http_test

#include "notify/mail_content.hpp"

#include <algorithm>
#include <string>

#include <gtest/gtest.h>

#include "connectors/json_text.hpp"
#include "notify/mail_values.hpp"

namespace sync_engine {
namespace {

MailContent read(const std::string& payload) {
    MailContent content;
    std::string fault;
    EXPECT_TRUE(read_mail_content(payload, content, fault)) << fault;
    return content;
}

std::string fault_of(const std::string& payload) {
    MailContent content;
    std::string fault;
    EXPECT_FALSE(read_mail_content(payload, content, fault));
    return fault;
}

// The value of a row, wherever it stands; "(none)" where there is none.
std::string row(const MailContent& content, std::string_view label) {
    for (const MailSection& section : content.sections) {
        for (const MailRow& r : section.rows) {
            if (r.label == label) {
                return r.value;
            }
        }
    }
    return "(none)";
}

const MailSection* section(const MailContent& content, std::string_view heading) {
    const auto found = std::find_if(content.sections.begin(), content.sections.end(),
                                    [&](const MailSection& s) { return s.heading == heading; });
    return found == content.sections.end() ? nullptr : &*found;
}

std::string event(const std::string& type, const std::string& data) {
    return R"({"type":")" + type + R"(","timestamp":"2026-03-01T12:15:00Z","data":)" + data + "}";
}

TEST(MailContent, ReadsAFailure) {
    const MailContent content = read(event("sync.failed", R"({
        "title": "acme/anvils failed: status 503", "summary": "It failed.", "tenant": "acme",
        "notification": {"id": 5, "name": "operations"},
        "connection": {"id": 42, "name": "Anvils", "external_id": "acme/anvils", "provider": "github"},
        "schedule": {"id": 7, "name": "nightly"},
        "run": {"id": 900, "job_type": "incremental", "trigger": "scheduled", "attempt": 3, "pages": 4,
                "planned_at": "2026-03-01T12:00:00Z", "started_at": "2026-03-01T12:00:01.5Z", "duration_ms": 5120},
        "counts": {"processed": 12000, "created": 100, "bytes": 40960},
        "error": {"class": "transient", "message": "line 1\r\nline 2", "code": "http_status", "status": 503,
                  "attempts": 3, "retry_at": "2026-03-01T12:30:00Z"},
        "incident": {"id": 3, "state": "opened", "opened_at": "2026-03-01T12:15:00Z", "occurrences": 9},
        "next_run_at": "2026-03-01T13:00:00Z", "reason": "retrying",
        "links": {"connection": "https://c.example/42", "settings": "https://c.example/n"}})"));
    EXPECT_EQ(content.tone, MailTone::bad);
    EXPECT_EQ(content.status, "Failed");
    EXPECT_EQ(content.title, "acme/anvils failed: status 503");
    EXPECT_EQ(content.summary, "It failed.");
    EXPECT_EQ(row(content, "Connection"), "Anvils (acme/anvils, github)");
    EXPECT_EQ(row(content, "Schedule"), "nightly");
    EXPECT_EQ(row(content, "Run"), "900, Incremental, Scheduled");
    EXPECT_EQ(row(content, "Planned for"), "2026-03-01 12:00 UTC");
    EXPECT_EQ(row(content, "Started"), "2026-03-01 12:00 UTC");
    EXPECT_EQ(row(content, "Duration"), "5.1 s");
    EXPECT_EQ(row(content, "Records"), "12,000 processed, 100 created");
    EXPECT_EQ(row(content, "Data"), "41.0 kB");
    EXPECT_EQ(row(content, "Error"), "line 1\nline 2");
    EXPECT_EQ(row(content, "Error code"), "http_status (status 503)");
    EXPECT_EQ(row(content, "Attempts"), "3");
    EXPECT_EQ(row(content, "Attempt"), "(none)");
    EXPECT_EQ(row(content, "Next attempt"), "2026-03-01 12:30 UTC");
    EXPECT_EQ(row(content, "Incident"), "3, Opened");
    EXPECT_EQ(row(content, "Next run"), "2026-03-01 13:00 UTC");
    EXPECT_EQ(row(content, "Reason"), "retrying");
    EXPECT_EQ(content.footer, "Sent by the notification operations of acme.");
    ASSERT_EQ(content.links.size(), 2U);
    EXPECT_EQ(content.links[1].label, "Notification settings");
}

TEST(MailContent, EveryTypeHasAToneAndAStatus) {
    for (const char* type :
         {"sync.succeeded", "sync.failed", "sync.retrying", "sync.rate_limited", "sync.no_records",
          "sync.late", "sync.missed", "connection.auto_paused", "notification.disabled", "sync.recovered",
          "digest.daily", "digest.weekly", "sync.bundle", "test"}) {
        const MailContent content = read(event(type, R"({"title":"T","summary":"S"})"));
        EXPECT_EQ(content.title, "T");
        EXPECT_EQ(content.summary, "S");
        EXPECT_NE(content.status, "");
        EXPECT_TRUE(content.sections.empty()) << type;
    }
    EXPECT_EQ(read(event("sync.recovered", "{}")).tone, MailTone::good);
    EXPECT_EQ(read(event("sync.late", "{}")).tone, MailTone::warning);
    EXPECT_EQ(read(event("sync.failed", R"({"incident":{"state":"reminder"}})")).status, "Failed (reminder)");
}

TEST(MailContent, OfAnUnknownTypeItShowsWhatItRecognises) {
    const MailContent content = read(event("volume.anomaly", R"({"title":"T","summary":"S",
        "connection":{"name":"Anvils"},"expected_rows":100,"sure":true,"nested":{"a":1},"next_run_at":null})"));
    EXPECT_EQ(content.status, "Volume anomaly");
    EXPECT_EQ(content.tone, MailTone::neutral);
    EXPECT_EQ(row(content, "Connection"), "Anvils");
    EXPECT_EQ(row(content, "Expected rows"), "100");
    EXPECT_EQ(row(content, "Sure"), "yes");
    EXPECT_EQ(row(content, "Nested"), "(none)");
    EXPECT_EQ(row(content, "Next run"), "(none)");
}

TEST(MailContent, MembersOfTheWrongTypeAreNoTrouble) {
    const MailContent content = read(event("sync.failed", R"({"title":5,"summary":[1],"connection":"x",
        "run":[],"counts":7,"error":{"message":{"a":1},"status":"teapot"},"links":{"run":5},"incident":true})"));
    EXPECT_EQ(content.title, "5");
    EXPECT_EQ(row(content, "Error code"), "status teapot");
    EXPECT_TRUE(content.links.empty());
    for (const char* payload : {"{}", R"({"type":null,"data":null})", R"({"type":{},"data":[]})"}) {
        EXPECT_EQ(read(payload).title, "Notification") << payload;
    }
}

TEST(MailContent, WhatIsNoJsonObjectIsAFault) {
    EXPECT_EQ(fault_of("[]"), "the payload is not an object");
    EXPECT_EQ(fault_of("5"), "the payload is not an object");
    EXPECT_TRUE(fault_of("").starts_with("the payload is not JSON: "));
    EXPECT_TRUE(fault_of("{\"type\":").starts_with("the payload is not JSON: "));
    EXPECT_NE(fault_of(std::string(300, '[') + std::string(300, ']')).find("nested deeper"),
              std::string::npos);
    EXPECT_NE(fault_of(std::string(100'000, '[')), "");
}

TEST(MailContent, DeepNestingThatIsAllowedIsReadPast) {
    const std::string deep = std::string(190, '[') + std::string(190, ']');
    const MailContent content =
        read(event("sync.failed", R"({"title":"T","summary":)" + deep + R"(,"x":)" + deep + "}"));
    EXPECT_EQ(content.title, "T");
    EXPECT_EQ(content.summary, "");
}

TEST(MailContent, OnlyWebLinksAreTaken) {
    for (const char* url : {"javascript:alert(1)", "JaVaScRiPt://x/%0aalert(1)", "data:text/html,x",
                            "mailto:a@b.example", "https://user:pw@c.example/", "//c.example/",
                            "https:c.example", "https://c.example/\\n", " https://c", "file:///etc/passwd"}) {
        std::string link;
        append_json_text(link, url);
        EXPECT_TRUE(read(event("test", R"({"links":{"run":)" + link + "}}")).links.empty()) << url;
    }
    const MailContent content =
        read(event("test", R"({"links":{"run":"https://c.example/a\"><b>'\u202eü?x=1&y=2"}})"));
    ASSERT_EQ(content.links.size(), 1U);
    EXPECT_EQ(content.links[0].url, "https://c.example/a%22%3E%3Cb%3E%27%E2%80%AE%C3%BC?x=1&y=2");
}

TEST(MailContent, ADigestHasItsLocalTimesAndNoEmptySections) {
    const MailContent content = read(event("digest.daily", R"({"title":"T","summary":"S",
        "period":{"from":"2026-03-01T07:00:00Z","to":"2026-03-02T07:00:00Z","timezone":"Europe/Berlin",
                  "from_local":"2026-03-01 08:00","to_local":"2026-03-02 08:00","label":"1 to 2 March 2026"},
        "runs":{"planned":48,"ran":120,"succeeded":117,"failed":2,"cancelled":0,"success_rate":0.983,
                "previous":{"ran":118,"succeeded":118,"failed":0,"success_rate":1.0}},
        "records":{"processed":0,"created":0,"previous_created":0},
        "not_run":{"total":4,"items":[{"connection":{"name":"Anvils","provider":"github"},"schedule":{"name":"nightly"},
                   "outcome":"missed","reason":"server down","first_planned_at":"2026-03-01T12:15:00Z",
                   "last_planned_at":"2026-03-01T13:15:00Z","count":5}]},
        "worst":[],"incidents":{"opened":0,"resolved":0,"open":0,"items":[]},
        "stale":{"total":1,"items":[{"connection":{"name":"Anvils"},"last_success_at":null,"expected_seconds":900}]},
        "rate_limits":{"attempts":0,"seconds_lost":0,"items":[]},"next":{"runs":96,"items":[]}})"));
    EXPECT_EQ(content.tone, MailTone::warning);
    EXPECT_EQ(row(content, "From"), "2026-03-01 08:00 (Europe/Berlin)");
    EXPECT_EQ(row(content, "Ran"), "120 (before: 118)");
    EXPECT_EQ(row(content, "Success rate"), "98.3% (before: 100%)");
    EXPECT_EQ(row(content, "Cancelled"), "(none)");
    EXPECT_EQ(section(content, "Records"), nullptr);
    EXPECT_EQ(section(content, "Incidents"), nullptr);
    EXPECT_EQ(section(content, "Most failures"), nullptr);
    EXPECT_EQ(section(content, "Rate limits"), nullptr);
    const MailSection* const not_run = section(content, "Did not run");
    ASSERT_NE(not_run, nullptr);
    EXPECT_EQ(not_run->table.rows.front(),
              (std::vector<std::string>{"Anvils (github)", "nightly", "Missed: server down",
                                        "2026-03-01 12:15 UTC to 2026-03-01 13:15 UTC, 5 times"}));
    EXPECT_EQ(not_run->table.left_out, 3U);
    const MailSection* const stale = section(content, "Out of date");
    ASSERT_NE(stale, nullptr);
    EXPECT_EQ(stale->table.rows.front(), (std::vector<std::string>{"Anvils", "never", "15 min"}));
    EXPECT_EQ(row(content, "Runs"), "96");
}

TEST(MailContent, ADigestWithoutRunsIsNeutralAndOneWithoutTroubleGood) {
    EXPECT_EQ(read(event("digest.weekly", R"({"empty":true,"runs":{"ran":0}})")).tone, MailTone::neutral);
    EXPECT_EQ(read(event("digest.weekly", R"({"runs":{"ran":5,"succeeded":5}})")).tone, MailTone::good);
}

TEST(MailContent, ABundleCountsWhatItDoesNotList) {
    std::string events;
    for (int i = 0; i < 80; ++i) {
        events +=
            (i > 0 ? "," : "") + std::string(R"({"type":"sync.failed","timestamp":"2026-03-01T12:15:00Z"})");
    }
    const MailContent content = read(event("sync.bundle", R"({"title":"T","total":9990,
        "by":[{"type":"sync.failed","provider":"github","class":"transient","count":9990}],"events":[)" +
                                                              events + "]}"));
    const MailSection* const by = section(content, "By kind");
    ASSERT_NE(by, nullptr);
    EXPECT_EQ(by->table.rows.front(),
              (std::vector<std::string>{"Sync failed", "github", "Transient", "9,990"}));
    const MailSection* const listed = section(content, "Events");
    ASSERT_NE(listed, nullptr);
    EXPECT_EQ(listed->table.rows.size(), kMaxTableRows);
    EXPECT_EQ(listed->table.left_out, 9990 - kMaxTableRows);
    EXPECT_EQ(listed->table.rows.front()[2], "Sync failed");
}

TEST(MailValues, DurationsBytesAndShares) {
    EXPECT_EQ(duration_text(0.34), "340 ms");
    EXPECT_EQ(duration_text(5.12), "5.1 s");
    EXPECT_EQ(duration_text(59.96), "1 min");
    EXPECT_EQ(duration_text(125), "2 min 5 s");
    EXPECT_EQ(duration_text(7500), "2 h 5 min");
    EXPECT_EQ(duration_text(273'600), "3 d 4 h");
    EXPECT_EQ(duration_text(-1), "0 ms");
    EXPECT_NE(duration_text(1e300), "");
    EXPECT_EQ(bytes_text(512), "512 bytes");
    EXPECT_EQ(bytes_text(999'960), "1.0 MB");
    EXPECT_EQ(bytes_text(2.5e9), "2.5 GB");
    EXPECT_EQ(percent_text(1), "100%");
    EXPECT_EQ(percent_text(0.9999), "99.9%");
    EXPECT_EQ(percent_text(0.5), "50%");
}

TEST(MailValues, NumbersOfAnySizeAreText) {
    const std::string huge = "1" + std::string(5000, '0');
    const MailContent content =
        read(event("sync.failed",
                   R"({"counts":{"processed":)" + huge + R"(,"bytes":1e999},"run":{"duration_ms":-5e400}})"));
    EXPECT_LE(row(content, "Records").size(), 1000U);
    EXPECT_EQ(row(content, "Data"), "(none)");
}

}  // namespace
}  // namespace sync_engine

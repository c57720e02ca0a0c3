#include <gtest/gtest.h>

#include "connectors/signal_mapping.hpp"
#include "unit/connector_http_support.hpp"

namespace sync_engine::http_test {
namespace {

std::string config(const std::string& mapping) {
    return R"({"base_url":"https://a","mapping":)" + mapping + "}";
}

std::string signal(const std::string& mapping, const std::string& record) {
    return Bench(config(mapping)).page("[" + record + "]").signals.at(0);
}

std::string fault(const std::string& mapping, const std::string& records) {
    const Failure failure = Bench(config(mapping)).failure(records);
    EXPECT_EQ(failure.kind, FailureKind::permanent);
    EXPECT_EQ(part(failure.error_json, "code"), "\"mapping\"");
    return part(failure.error_json, "message");
}

TEST(Mapping, Kind) {
    EXPECT_EQ(part(signal(R"({})", "{}"), "kind"), "\"record\"");
    EXPECT_EQ(part(signal(R"({"kind":"a\"b"})", "{}"), "kind"), R"("a\"b")");
    const std::string by_field = R"({"kind":{"pointer":"/type","default":"other"}})";
    EXPECT_EQ(part(signal(by_field, R"({"type":"push"})"), "kind"), "\"push\"");
    EXPECT_EQ(part(signal(by_field, R"({"type":7})"), "kind"), "\"7\"");
    EXPECT_EQ(part(signal(by_field, R"({"type":null})"), "kind"), "\"other\"");
    EXPECT_EQ(part(signal(by_field, R"({"type":""})"), "kind"), "\"other\"");
    EXPECT_EQ(fault(R"({"kind":{"pointer":"/type"}})", R"([{"type":"a"},{"type":{}}])"),
              "\"$[1]: mapping.kind: $.type is missing and there is no default\"");
}

TEST(Mapping, OccurredAt) {
    EXPECT_EQ(
        part(signal(R"({"occurred_at":"/at"})", R"({"at":"2026-03-01T13:00:00.5+01:00"})"), "occurred_at"),
        "\"2026-03-01T12:00:00.5Z\"");
    const Page page =
        Bench(config(R"({"occurred_at":"/at"})"))
            .page(R"([{"at":"yesterday"},{"at":5},{},{"at":null},{"at":true},{"at":"2026-03-01"}])");
    EXPECT_EQ(part(page.stats_json, "without_occurred_at"), "5");
    EXPECT_EQ(part(page.signals[0], "occurred_at"), "");
    EXPECT_EQ(part(page.signals[5], "occurred_at"), "\"2026-03-01T00:00:00Z\"");
}

std::string time_of(const std::string& json, TimeFormat format) {
    rapidjson::Document document;
    std::string error;
    EXPECT_TRUE(parse_json(json, document, error));
    const auto time = record_time(document, format);
    return time ? format_utc(*time) : "(nothing)";
}

TEST(Mapping, EpochTimes) {
    EXPECT_EQ(time_of("1772366400", TimeFormat::epoch_seconds), "2026-03-01T12:00:00Z");
    EXPECT_EQ(time_of("1772366400.25", TimeFormat::epoch_seconds), "2026-03-01T12:00:00.25Z");
    EXPECT_EQ(time_of(R"("1772366400.000100")", TimeFormat::epoch_seconds), "2026-03-01T12:00:00.0001Z");
    EXPECT_EQ(time_of("1772366400250", TimeFormat::epoch_milliseconds), "2026-03-01T12:00:00.25Z");
    EXPECT_EQ(time_of("-1", TimeFormat::epoch_seconds), "1969-12-31T23:59:59Z");
    EXPECT_EQ(time_of("1.7723664e9", TimeFormat::epoch_seconds), "2026-03-01T12:00:00Z");
    for (const char* bad : {"1e300", "-1e300", "99999999999999999999999999", R"("nan")", R"("inf")", R"("")",
                            R"("12x")", "true", "{}", "[]", "null", R"("2026-03-01")", "9224318016000"}) {
        EXPECT_EQ(time_of(bad, TimeFormat::epoch_seconds), "(nothing)") << bad;
    }
}

TEST(Mapping, DedupeKey) {
    EXPECT_EQ(part(signal(R"({"dedupe_key":"{{record.id}}@{{record./a~1b/0}}"})",
                          R"({"id":12345678901234567890,"a/b":["x"]})"),
                   "dedupe_key"),
              "\"12345678901234567890@x\"");
    EXPECT_EQ(part(signal(R"({"dedupe_key":"{{record}}"})", R"("just \"text\"")"), "dedupe_key"),
              R"("just \"text\"")");
    EXPECT_EQ(fault(R"({"dedupe_key":"{{record.id}}"})", R"([{"id":1},{"id":null}])"),
              "\"$[1]: mapping.dedupe_key: {{record.id}} is missing\"");
    EXPECT_EQ(fault(R"({"dedupe_key":"{{record.id}}"})", R"([{"id":[]}])"),
              "\"$[0]: mapping.dedupe_key: {{record.id}} is an array\"");
}

TEST(Mapping, WithoutAKeyTheContentIsTheKey) {
    const Page page = Bench(config("{}")).page(R"([{"a":1},{"a":1},{"a":1.0},{"b":1}])");
    const auto key = [&](std::size_t i) { return part(page.signals[i], "dedupe_key"); };
    EXPECT_EQ(key(0).size(), 34U);
    EXPECT_EQ(key(0), key(1));
    EXPECT_NE(key(0), key(2));
    EXPECT_NE(key(0), key(3));
}

TEST(Mapping, PayloadIsExact) {
    const std::string record =
        R"({"n":2500.2500,"big":123456789012345678901234567890,"e":1.0E+2,"neg":-0.0,"s":"\u00e4\ud83d\ude00","t":[true,null,{}]})";
    EXPECT_EQ(part(signal("{}", record), "payload"),
              "{\"n\":2500.2500,\"big\":123456789012345678901234567890,\"e\":1.0E+2,\"neg\":-0.0,"
              "\"s\":\"\xC3\xA4\xF0\x9F\x98\x80\",\"t\":[true,null,{}]}");
    EXPECT_EQ(part(signal(R"({"payload":{"pointer":"/n"}})", record), "payload"), "2500.2500");
    EXPECT_EQ(part(signal(R"({"payload":"/t"})", record), "payload"), "[true,null,{}]");
    EXPECT_EQ(fault(R"({"payload":"/gone"})", "[{}]"), "\"$[0]: mapping.payload: $.gone is missing\"");
    EXPECT_EQ(fault("{}", "[null]"), "\"$[0]: mapping.payload: $ is missing\"");
}

TEST(Mapping, BadTextIsReplacedAndCounted) {
    const Page page =
        Bench(config("{}")).page("[{\"a\":\"x\xFFy\",\"b\":\"\\u0000\",\"c\":\"\\ud800\",\"d\":\"\x01\"}]");
    EXPECT_EQ(part(page.signals[0], "payload"),
              "{\"a\":\"x\xEF\xBF\xBDy\",\"b\":\"\xEF\xBF\xBD\",\"c\":\"\xEF\xBF\xBD\",\"d\":\"\\u0001\"}");
    EXPECT_EQ(part(page.stats_json, "replaced_characters"), "3");
}

}  // namespace
}  // namespace sync_engine::http_test

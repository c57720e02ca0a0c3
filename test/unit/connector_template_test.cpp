#include <gtest/gtest.h>

#include "connectors/json_pointer.hpp"
#include "connectors/json_text.hpp"
#include "connectors/template.hpp"

namespace sync_engine {
namespace {

rapidjson::Document parsed(std::string_view json) {
    rapidjson::Document document;
    std::string error;
    EXPECT_TRUE(parse_json(json, document, error)) << error;
    return document;
}

std::string found(std::string_view json, std::string_view pointer) {
    const auto document = parsed(json);
    const auto place = JsonPointer::parse(pointer);
    if (!place) {
        return "(malformed)";
    }
    const rapidjson::Value* value = place->find(document);
    return value == nullptr ? "(nothing)" : json_of(*value);
}

// RFC 6901, section 5.
TEST(JsonPointer, ExamplesOfTheStandard) {
    const char* const json =
        R"({"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"g|h":4,"i\\j":5,"k\"l":6," ":7,"m~n":8})";
    EXPECT_EQ(
        found(json, ""),
        R"({"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"g|h":4,"i\\j":5,"k\"l":6," ":7,"m~n":8})");
    EXPECT_EQ(found(json, "/foo"), R"(["bar","baz"])");
    EXPECT_EQ(found(json, "/foo/0"), "\"bar\"");
    EXPECT_EQ(found(json, "/"), "0");
    EXPECT_EQ(found(json, "/a~1b"), "1");
    EXPECT_EQ(found(json, "/c%d"), "2");
    EXPECT_EQ(found(json, "/e^f"), "3");
    EXPECT_EQ(found(json, "/g|h"), "4");
    EXPECT_EQ(found(json, "/i\\j"), "5");
    EXPECT_EQ(found(json, "/k\"l"), "6");
    EXPECT_EQ(found(json, "/ "), "7");
    EXPECT_EQ(found(json, "/m~0n"), "8");
}

TEST(JsonPointer, WhatIsNotThere) {
    const char* const json = R"({"a":[{"b":null}],"n":5,"s":"text"})";
    for (const char* pointer : {"/x", "/a/1", "/a/-", "/a/00", "/a/0x", "/a/99999999999999999999", "/a/b",
                                "/a/0/b", "/n/0", "/s/0", "/a/0/b/c", "/a/-1", "/a/"}) {
        EXPECT_EQ(found(json, pointer), "(nothing)") << pointer;
    }
    const auto document = parsed(json);
    const auto* value = JsonPointer::parse("/a/0/b")->find_or_null(document);
    ASSERT_NE(value, nullptr);
    EXPECT_TRUE(value->IsNull());
}

TEST(JsonPointer, MalformedOnes) {
    for (const char* pointer : {"a", "a/b", "#/a", "$.a", "/a~", "/a~2", "/~", " "}) {
        EXPECT_FALSE(JsonPointer::parse(pointer)) << pointer;
    }
    for (const char* path : {"", ".", "a.", ".a", "a..b"}) {
        EXPECT_FALSE(JsonPointer::parse_dotted(path)) << path;
    }
    EXPECT_EQ(JsonPointer::parse_dotted("a.0.b")->parts().size(), 3U);
    EXPECT_EQ(JsonPointer::parse("/a/0")->path(), "$.a.0");
    EXPECT_EQ(JsonPointer().path(), "$");
}

std::string fault(std::string_view text, TemplateUse use = TemplateUse::request) {
    std::string error;
    EXPECT_FALSE(TextTemplate::parse(text, use, error)) << text;
    return error;
}

std::string rendered(std::string_view text, TextEncoding encoding = TextEncoding::plain) {
    static const auto config =
        parsed(R"({"owner":"o/c t&o","id":12345678901234567890,"on":true,"list":[1],"none":null})");
    static const auto cursor = parsed(R"({"watermark":"2026-03-01T12:00:00Z","a":{"b":["x"]}})");
    std::string error;
    const auto parsed_text = TextTemplate::parse(text, TemplateUse::request, error);
    if (!parsed_text) {
        return "(malformed) " + error;
    }
    const Rendered result = render(
        *parsed_text, {&config, &cursor, nullptr, nullptr, *parse_utc("2026-03-01T12:00:00.25Z")}, encoding);
    return result.missing.empty() ? result.text : result.missing + " " + result.problem;
}

TEST(Template, FillsIn) {
    EXPECT_EQ(rendered(""), "");
    EXPECT_EQ(rendered("plain {x}"), "plain {x}");
    EXPECT_EQ(rendered("a{{config.owner}}b{{ cursor.watermark }}"), "ao/c t&ob2026-03-01T12:00:00Z");
    EXPECT_EQ(rendered("{{config.id}}/{{config.on}}"), "12345678901234567890/true");
    EXPECT_EQ(rendered("{{cursor./a/b/0}}{{cursor.a.b.0}}"), "xx");
}

TEST(Template, EncodesWhatIsFilledInOnly) {
    EXPECT_EQ(rendered("/a b/{{config.owner}}", TextEncoding::uri_component), "/a b/o%2Fc%20t%26o");
    EXPECT_EQ(percent_encoded("a-Z_0.~ \xC3\xA4%/?#"), "a-Z_0.~%20%C3%A4%25%2F%3F%23");
}

TEST(Template, FormsOfNow) {
    EXPECT_EQ(rendered("{{now}}"), "2026-03-01T12:00:00.25Z");
    EXPECT_EQ(rendered("{{now.date}}"), "2026-03-01");
    EXPECT_EQ(rendered("{{now.epoch_seconds}}"), "1772366400");
    EXPECT_EQ(rendered("{{now.epoch_milliseconds}}"), "1772366400250");
}

TEST(Template, SaysWhatIsMissing) {
    EXPECT_EQ(rendered("{{config.nothing}}"), "config.nothing is missing");
    EXPECT_EQ(rendered("{{config.none}}"), "config.none is missing");
    EXPECT_EQ(rendered("{{config.list}}"), "config.list is an array");
    EXPECT_EQ(rendered("{{input.x}}"), "input.x is missing");
    EXPECT_EQ(rendered("{{cursor}}"), "cursor is an object");
}

TEST(Template, RefusesWhatItCannotRead) {
    EXPECT_EQ(fault("{{config.a"), "{{ without }} after it");
    EXPECT_EQ(fault("a}}"), "}} without {{ before it");
    EXPECT_EQ(fault("{{}}"), "{{}} is unknown; a reference begins with one of config, cursor, input, now");
    EXPECT_EQ(fault("{{env.HOME}}"),
              "{{env.HOME}} is unknown; a reference begins with one of config, cursor, input, now");
    EXPECT_EQ(fault("{{record.id}}"),
              "{{record.id}} is unknown; a reference begins with one of config, cursor, input, now");
    EXPECT_EQ(fault("{{config.id}}", TemplateUse::record),
              "{{config.id}} is unknown; a reference begins with one of record");
    EXPECT_EQ(fault("{{config..a}}"), "{{config..a}} is not a dotted path or a JSON pointer");
    EXPECT_EQ(fault("{{config./a~5}}"), "{{config./a~5}} is not a dotted path or a JSON pointer");
    EXPECT_EQ(fault("{{config}}"), "{{config}} is unknown");
    EXPECT_EQ(fault("{{now.year}}"),
              "{{now.year}} is unknown; known are now, now.date, now.epoch_seconds, now.epoch_milliseconds");
}

TEST(Template, KeepsSecretsOutOfAddresses) {
    EXPECT_EQ(fault("{{config.auth.token}}"),
              "{{config.auth.token}} may hold a secret and cannot be filled in");
    EXPECT_EQ(fault("{{config./headers/X-Key}}"),
              "{{config./headers/X-Key}} may hold a secret and cannot be filled in");
    EXPECT_EQ(fault("{{config.sync_engine.origin}}"),
              "{{config.sync_engine.origin}} may hold a secret and cannot be filled in");
}

}  // namespace
}  // namespace sync_engine

#include <gtest/gtest.h>

#include <array>
#include <limits>
#include <string>

#include <fcntl.h>
#include <unistd.h>

#include <rapidjson/document.h>

#include "process/json_string.hpp"
#include "process/log.hpp"

namespace sync_engine {
namespace {

class LogTest : public testing::Test {
  protected:
    void SetUp() override { ASSERT_EQ(pipe(ends_.data()), 0); }
    void TearDown() override {
        close(ends_[0]);
        close(ends_[1]);
    }

    std::string written() {
        std::string text(65536, '\0');
        const ssize_t length = read(ends_[0], text.data(), text.size());
        text.resize(length > 0 ? static_cast<std::size_t>(length) : 0);
        return text;
    }

    rapidjson::Document line(Logger& log) {
        log.flush();
        const std::string text = written();
        EXPECT_EQ(text.find('\n'), text.size() - 1);
        rapidjson::Document document;
        document.Parse(text.c_str());
        EXPECT_FALSE(document.HasParseError()) << text;
        return document;
    }

    std::array<int, 2> ends_{};
    Redactor redactor_;
};

TEST_F(LogTest, OneJsonObjectALine) {
    Logger log(ends_[1], LogLevel::info, redactor_);
    log.info("job \"ended\"\n", {{"job_id", std::int64_t{7}},
                                 {"ratio", 0.25},
                                 {"has_more", true},
                                 {"tenant_id", "a\x01\xff\xed\xa0\x80"},
                                 {"broken", std::numeric_limits<double>::infinity()}});
    const auto document = line(log);
    EXPECT_STREQ(document["level"].GetString(), "info");
    EXPECT_STREQ(document["msg"].GetString(), "job \"ended\"\n");
    EXPECT_EQ(document["job_id"].GetInt64(), 7);
    EXPECT_EQ(document["ratio"].GetDouble(), 0.25);
    EXPECT_TRUE(document["has_more"].GetBool());
    EXPECT_EQ(std::string(document["tenant_id"].GetString()),
              "a\x01\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
    EXPECT_EQ(document["broken"].GetDouble(), 0);
    const std::string when = document["ts"].GetString();
    EXPECT_EQ(when.size(), std::string("2026-03-01T12:15:00.000Z").size());
    EXPECT_EQ(when.back(), 'Z');
}

TEST_F(LogTest, SecretsAreRemovedFromMessageAndFields) {
    redactor_.add("hunter22\"x");
    Logger log(ends_[1], LogLevel::debug, redactor_);
    log.error("with hunter22\"x", {{"error", "{\"m\":\"hunter22\\\"x\"}"}});
    log.flush();
    const std::string text = written();
    EXPECT_EQ(text.find("hunter22"), std::string::npos) << text;
    EXPECT_NE(text.find("[redacted]"), std::string::npos);
}

TEST_F(LogTest, LinesBelowTheLevelAreNotWritten) {
    Logger log(ends_[1], LogLevel::warn, redactor_);
    log.info("no");
    log.warn("yes");
    EXPECT_STREQ(line(log)["msg"].GetString(), "yes");
    EXPECT_FALSE(log.wants(LogLevel::info));
    EXPECT_TRUE(log.wants(LogLevel::error));
}

TEST_F(LogTest, ADescriptorThatRefusesDoesNotStopAnything) {
    const int closed = dup(ends_[1]);
    close(closed);
    Logger log(closed, LogLevel::info, redactor_);
    log.info("lost");
    log.flush();
}

TEST(LogLevels, AreParsed) {
    EXPECT_EQ(parse_log_level("debug"), LogLevel::debug);
    EXPECT_EQ(parse_log_level("error"), LogLevel::error);
    EXPECT_FALSE(parse_log_level("Error"));
    EXPECT_FALSE(parse_log_level(""));
}

TEST(JsonString, ReplacesWhatJsonbRefusesAndCounts) {
    std::string out;
    EXPECT_EQ(append_json_string(out, std::string_view("a\0b\x80", 4)), 2U);
    EXPECT_EQ(out,
              "\"a\xEF\xBF\xBD"
              "b\xEF\xBF\xBD\"");
    out.clear();
    EXPECT_EQ(append_json_string(out, "\xC0\x80\xF4\x90\x80\x80 \xE2\x82\xAC \xF0\x9F\x98\x80"), 6U);
    EXPECT_TRUE(out.ends_with(" \xE2\x82\xAC \xF0\x9F\x98\x80\""));
}

}  // namespace
}  // namespace sync_engine

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include "executor/secret_rules.hpp"
#include "executor/secrets.hpp"
#include "process/redactor.hpp"

namespace sync_engine {
namespace {

namespace fs = std::filesystem;

TEST(HostList, AdmitsExactNamesAndSubdomains) {
    EXPECT_TRUE(HostList{}.admits("anything"));
    const HostList hosts{{"api.example.com", "*.internal.example"}};
    EXPECT_TRUE(hosts.admits("api.example.com"));
    EXPECT_TRUE(hosts.admits("API.Example.COM"));
    EXPECT_TRUE(hosts.admits("a.b.internal.example"));
    for (const char* host : {"internal.example", "xinternal.example", "api.example.com.evil.test",
                             "evilapi.example.com", "", "example.com"}) {
        EXPECT_FALSE(hosts.admits(host)) << host;
    }
}

TEST(HostBoundList, SeparatesNamesAndHosts) {
    const auto items = parse_host_bound_list("A, B@H1,h2; C\nD@h3 E");
    ASSERT_TRUE(items);
    ASSERT_EQ(items->size(), 5U);
    EXPECT_EQ((*items)[1].first, "B");
    EXPECT_EQ((*items)[1].second.hosts, (std::vector<std::string>{"h1", "h2"}));
    EXPECT_EQ((*items)[3].second.hosts, (std::vector<std::string>{"h3"}));
    EXPECT_EQ((*items)[4].first, "E");
    EXPECT_TRUE((*items)[4].second.hosts.empty());
    EXPECT_FALSE(parse_host_bound_list("A@"));
    EXPECT_FALSE(parse_host_bound_list("A@;B"));
    EXPECT_FALSE(parse_host_bound_list("@h"));
}

class AllowedSecretsTest : public testing::Test {
  protected:
    void SetUp() override {
        std::string pattern = (fs::temp_directory_path() / "sync-secrets-XXXXXX").string();
        ASSERT_NE(mkdtemp(pattern.data()), nullptr);
        root_ = pattern;
        fs::create_directory(root_ / "dir");
    }
    void TearDown() override { fs::remove_all(root_); }

    void write(const fs::path& path, const std::string& content) { std::ofstream(root_ / path) << content; }

    AllowedSecrets secrets(std::vector<SecretEnvRule> env, std::vector<SecretDirRule> dirs) {
        return {std::move(env), std::move(dirs),
                [this](const std::string& name) -> std::optional<std::string> {
                    const auto found = environment_.find(name);
                    return found == environment_.end() ? std::nullopt : std::optional(found->second);
                },
                redactor_};
    }

    fs::path root_;
    std::map<std::string, std::string> environment_;
    Redactor redactor_;
};

TEST_F(AllowedSecretsTest, EnvironmentOnlyForAllowedNamesAndHosts) {
    environment_ = {{"TOKEN", "t0p-s3cret"}, {"PGPASSWORD", "database-password"}, {"EMPTY", ""}};
    auto resolver = secrets({{"TOKEN", {{"api.example.com"}}}, {"EMPTY", {}}, {"MISSING", {}}}, {});
    EXPECT_EQ(resolver.env("TOKEN", "api.example.com"), "t0p-s3cret");
    EXPECT_FALSE(resolver.env("TOKEN", "evil.test"));
    EXPECT_FALSE(resolver.env("PGPASSWORD", "api.example.com"));
    EXPECT_FALSE(resolver.env("EMPTY", "api.example.com"));
    EXPECT_FALSE(resolver.env("MISSING", "api.example.com"));
    EXPECT_FALSE(resolver.env("token", "api.example.com"));
}

TEST_F(AllowedSecretsTest, ASecondRuleForTheSameNameAddsHosts) {
    environment_ = {{"TOKEN", "t0p-s3cret"}};
    auto resolver = secrets({{"TOKEN", {{"a.example"}}}, {"TOKEN", {{"b.example"}}}}, {});
    EXPECT_TRUE(resolver.env("TOKEN", "a.example"));
    EXPECT_TRUE(resolver.env("TOKEN", "b.example"));
    EXPECT_FALSE(resolver.env("TOKEN", "c.example"));
}

TEST_F(AllowedSecretsTest, WhatIsHandedOutIsKnownToTheRedactor) {
    environment_ = {{"TOKEN", "t0p-s3cret"}};
    auto resolver = secrets({{"TOKEN", {}}}, {});
    EXPECT_EQ(redactor_.scrub("got t0p-s3cret"), "got t0p-s3cret");
    resolver.env("TOKEN", "h");
    EXPECT_EQ(redactor_.scrub("got t0p-s3cret"), "got [redacted]");
}

TEST_F(AllowedSecretsTest, FilesOnlyInsideTheDirectoryAndForItsHosts) {
    write("dir/token", "from-a-file\r\n");
    write("dir/.hidden", "hidden");
    write("dir/empty", "\n");
    write("outside", "outside-secret");
    fs::create_symlink(root_ / "outside", root_ / "dir/escape");
    fs::create_directory(root_ / "dir/..data");
    write("dir/..data/mounted", "mounted-secret");
    fs::create_symlink("..data/mounted", root_ / "dir/mounted");
    fs::create_directory(root_ / "dir/sub");
    auto resolver = secrets({}, {{(root_ / "dir").string(), {{"api.example.com"}}}});
    EXPECT_EQ(resolver.file("token", "api.example.com"), "from-a-file");
    EXPECT_EQ(resolver.file("mounted", "api.example.com"), "mounted-secret");
    EXPECT_FALSE(resolver.file("token", "evil.test"));
    for (const std::string name : {"escape", ".hidden", "empty", "missing", "sub", "../outside",
                                   "/etc/passwd", "..", ".", "", "..data/mounted"}) {
        EXPECT_FALSE(resolver.file(name, "api.example.com")) << name;
    }
    EXPECT_FALSE(resolver.file(std::string("token\0x", 7), "api.example.com"));
}

TEST_F(AllowedSecretsTest, ARotatedFileIsReadAnewAndAHugeOneRefused) {
    auto resolver = secrets({}, {{(root_ / "dir").string(), {}}});
    write("dir/token", "first");
    EXPECT_EQ(resolver.file("token", "h"), "first");
    write("dir/token", "second");
    EXPECT_EQ(resolver.file("token", "h"), "second");
    write("dir/token", std::string(AllowedSecrets::kMaxFileBytes + 1, 'x'));
    EXPECT_FALSE(resolver.file("token", "h"));
}

TEST(Redactor, RemovesValuesInEveryFormTheyTakeInUrlsAndJson) {
    Redactor redactor;
    redactor.add("p@ss \"word\"/ü");
    EXPECT_EQ(redactor.scrub("a p@ss \"word\"/ü b"), "a [redacted] b");
    EXPECT_EQ(redactor.scrub("?t=p%40ss%20%22word%22%2F%C3%BC&x"), "?t=[redacted]&x");
    EXPECT_EQ(redactor.scrub(R"({"m":"p@ss \"word\"/ü"})"), R"({"m":"[redacted]"})");
}

TEST(Redactor, LongerValuesGoFirstSoThatNoTailIsLeft) {
    Redactor redactor;
    redactor.add("secret");
    redactor.add("secret-and-more");
    EXPECT_EQ(redactor.scrub("secret-and-more secret secretsecret"),
              "[redacted] [redacted] [redacted][redacted]");
}

TEST(Redactor, ValuesTooShortToBeSecretsAreLeftAlone) {
    Redactor redactor;
    redactor.add("");
    redactor.add("abc");
    EXPECT_EQ(redactor.scrub("abc"), "abc");
}

}  // namespace
}  // namespace sync_engine

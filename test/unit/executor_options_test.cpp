#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "executor/option_table.hpp"
#include "executor/options.hpp"

namespace sync_engine {
namespace {

class OptionsTest : public testing::Test {
  protected:
    Options parse(std::vector<std::string> arguments) { return parse_options(arguments, sources()); }

    std::string error_of(std::vector<std::string> arguments) {
        try {
            parse(std::move(arguments));
        } catch (const OptionError& error) {
            return error.what();
        }
        return "";
    }

    std::map<std::string, std::string> environment_;
    std::map<std::string, std::string> files_;

  private:
    static std::optional<std::string> look_up(const std::map<std::string, std::string>& in,
                                              const std::string& key) {
        const auto found = in.find(key);
        return found == in.end() ? std::nullopt : std::optional(found->second);
    }

    OptionSources sources() {
        return {[this](const std::string& name) { return look_up(environment_, name); },
                [this](const std::string& path) { return look_up(files_, path); }};
    }
};

TEST_F(OptionsTest, DefaultsComeFromTheTable) {
    const Options options = parse({});
    EXPECT_EQ(options.concurrency, 64);
    EXPECT_EQ(options.batch_size, 1000);
    EXPECT_EQ(options.prefetch, std::nullopt);
    EXPECT_EQ(options.connections, 2);
    EXPECT_FALSE(options.once);
    EXPECT_FALSE(options.tick);
    EXPECT_TRUE(options.wake_up);
    EXPECT_EQ(options.poll_seconds, 5);
    EXPECT_EQ(options.heartbeat_seconds, 15);
    EXPECT_EQ(options.drain_seconds, 30);
    EXPECT_EQ(options.max_body_bytes, 16777216U);
    EXPECT_EQ(options.log_level, LogLevel::info);
    EXPECT_EQ(options.user_agent, "sync-executor/" SYNC_ENGINE_VERSION);
    EXPECT_TRUE(options.secret_env.empty());
    EXPECT_TRUE(options.allowed_addresses.empty());
}

TEST_F(OptionsTest, PrefetchIsANumberOrAutomatic) {
    EXPECT_EQ(parse({"--prefetch", "7"}).prefetch, 7);
    environment_["SYNC_EXECUTOR_PREFETCH"] = "7";
    EXPECT_EQ(parse({"--prefetch", "auto"}).prefetch, std::nullopt);
    for (const char* bad : {"", "1001", "-1", "automatic"}) {
        EXPECT_THROW(parse({"--prefetch", bad}), OptionError);
    }
}

TEST_F(OptionsTest, ValuesAreReadWithAndWithoutEqualsSign) {
    EXPECT_EQ(parse({"--concurrency", "7"}).concurrency, 7);
    EXPECT_EQ(parse({"--concurrency=8"}).concurrency, 8);
    EXPECT_TRUE(parse({"--once"}).once);
    EXPECT_FALSE(parse({"--once=off"}).once);
    EXPECT_FALSE(parse({"--wake-up", "off"}).wake_up);
    EXPECT_EQ(parse({"--dsn", "dbname=a"}).database_url, "dbname=a");
}

TEST_F(OptionsTest, CommandLineBeatsEnvironmentBeatsFile) {
    files_["/etc/x.conf"] = "# comment\n\nconcurrency = 1\n poll_seconds=1\nbatch-size = 10\n";
    environment_["SYNC_EXECUTOR_CONFIG"] = "/etc/x.conf";
    environment_["SYNC_EXECUTOR_CONCURRENCY"] = "2";
    environment_["SYNC_EXECUTOR_POLL_SECONDS"] = "2";
    const Options options = parse({"--concurrency", "3"});
    EXPECT_EQ(options.concurrency, 3);
    EXPECT_EQ(options.poll_seconds, 2);
    EXPECT_EQ(options.batch_size, 10);
}

TEST_F(OptionsTest, AListReplacesTheListOfAWeakerPlace) {
    environment_["SYNC_EXECUTOR_ALLOW_SECRET_ENV"] = "A,B@api.example.com,example.org;C";
    const Options from_environment = parse({});
    ASSERT_EQ(from_environment.secret_env.size(), 3U);
    EXPECT_EQ(from_environment.secret_env[0].name, "A");
    EXPECT_TRUE(from_environment.secret_env[0].hosts.hosts.empty());
    EXPECT_EQ(from_environment.secret_env[1].hosts.hosts,
              (std::vector<std::string>{"api.example.com", "example.org"}));
    EXPECT_EQ(from_environment.secret_env[2].name, "C");

    const Options options = parse({"--allow-secret-env", "X@h", "--allow-secret-env=Y"});
    ASSERT_EQ(options.secret_env.size(), 2U);
    EXPECT_EQ(options.secret_env[0].name, "X");
    EXPECT_EQ(options.secret_env[1].name, "Y");
}

TEST_F(OptionsTest, AnAtSignWithoutHostIsRefusedRatherThanMeaningAnyHost) {
    for (const char* value : {"A@", "A@,", "A@ B", "@host", ""}) {
        EXPECT_NE(error_of({"--allow-secret-env", value}), "") << value;
    }
    EXPECT_NE(error_of({"--secret-dir", "/run/secrets@"}), "");
}

TEST_F(OptionsTest, TheExecutorsOwnCredentialsCannotBeAllowed) {
    EXPECT_NE(error_of({"--allow-secret-env", "PGPASSWORD"}).find("belongs to the executor"),
              std::string::npos);
    EXPECT_NE(error_of({"--allow-secret-env", "SYNC_EXECUTOR_DATABASE_URL"}), "");
    EXPECT_NE(error_of({"--allow-secret-env", "A=B"}), "");
}

TEST_F(OptionsTest, AddressRulesAreChecked) {
    const Options options = parse(
        {"--allow-private-addresses", "loopback, 10.1.0.0/16", "--allow-private-addresses", "fd00::/8"});
    EXPECT_EQ(options.allowed_addresses, (std::vector<std::string>{"loopback", "10.1.0.0/16", "fd00::/8"}));
    EXPECT_NE(error_of({"--allow-private-addresses", "localhost"}), "");
    EXPECT_NE(error_of({"--allow-private-addresses", "10.0.0.0/33"}), "");
}

TEST_F(OptionsTest, ErrorsNameTheirPlace) {
    EXPECT_EQ(error_of({"--concurrency", "many"}), "--concurrency: must be a whole number from 1 to 10000");
    EXPECT_EQ(error_of({"--concurrency", "10001"}), "--concurrency: must be a whole number from 1 to 10000");
    EXPECT_EQ(error_of({"--concurrency"}), "--concurrency needs a value");
    EXPECT_EQ(error_of({"--nonsense"}), "there is no option --nonsense; see --help");
    EXPECT_EQ(error_of({"nonsense"}), "'nonsense' is not an option; see --help");
    EXPECT_EQ(error_of({"--config", "/missing"}), "cannot read the config file /missing");

    environment_["SYNC_EXECUTOR_LOG_LEVEL"] = "loud";
    EXPECT_EQ(error_of({}), "SYNC_EXECUTOR_LOG_LEVEL: must be debug, info, warn or error");
    environment_.clear();

    files_["f"] = "concurrency = 1\nno equals sign\n";
    EXPECT_EQ(error_of({"--config", "f"}), "f line 2: expected key = value");
    files_["f"] = "nonsense = 1\n";
    EXPECT_EQ(error_of({"--config=f"}), "f line 1: there is no option 'nonsense'");
    files_["f"] = "drain-seconds = -1\n";
    EXPECT_EQ(error_of({"--config=f"}), "drain-seconds in f: must be a number of seconds from 0 to 86400");
}

TEST_F(OptionsTest, NumbersThatAreNoneAreRefused) {
    for (const char* value : {"nan", "inf", "-1", "1s", "", " 1", "1e9"}) {
        EXPECT_NE(error_of({"--heartbeat-seconds", value}), "") << value;
    }
    EXPECT_EQ(parse({"--heartbeat-seconds", "0.5"}).heartbeat_seconds, 0.5);
}

TEST_F(OptionsTest, APasswordOnTheCommandLineIsRefusedWithoutRepeatingIt) {
    for (const char* url : {"postgresql://u:hunter22@h/db", "host=h password=hunter22"}) {
        const std::string error = error_of({"--database-url", url});
        EXPECT_NE(error.find("visible"), std::string::npos) << url;
        EXPECT_EQ(error.find("hunter22"), std::string::npos) << url;
    }
    environment_["SYNC_EXECUTOR_DATABASE_URL"] = "postgresql://u:hunter22@h/db";
    EXPECT_EQ(parse({}).database_url, "postgresql://u:hunter22@h/db");
    environment_["SYNC_EXECUTOR_DATABASE_URL"] = "postgresql://u:hunter22@h:port:nonsense/db?x=[";
    EXPECT_EQ(error_of({}).find("hunter22"), std::string::npos);
    EXPECT_NE(error_of({}), "");
}

TEST_F(OptionsTest, HelpNamesEveryOptionThatIsNotHidden) {
    const std::string help = help_text();
    for (const OptionSpec& spec : option_table()) {
        EXPECT_EQ(help.find("  --" + std::string(spec.name) + (spec.metavar.empty() ? "\n" : " ")) ==
                      std::string::npos,
                  spec.hidden)
            << spec.name;
        EXPECT_FALSE(spec.help.empty());
    }
    EXPECT_TRUE(parse({"--help", "--config", "ignored"}).show_help);
    EXPECT_TRUE(parse({"-V"}).show_version);
}

TEST_F(OptionsTest, EveryDefaultIsAcceptedByItsOwnOption) {
    for (const OptionSpec& spec : option_table()) {
        Options options;
        if (!spec.fallback.empty()) {
            EXPECT_EQ(spec.set(options, spec.fallback), "") << spec.name;
        }
    }
}

}  // namespace
}  // namespace sync_engine

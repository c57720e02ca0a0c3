#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "gateway/options.hpp"

namespace sync_engine {
namespace {

class GatewayOptionsTest : public testing::Test {
  protected:
    GatewayOptions parse(std::vector<std::string> arguments) {
        return parse_gateway_options(arguments,
                                     {[this](const std::string& name) { return look_up(environment_, name); },
                                      [this](const std::string& path) { return look_up(files_, path); }});
    }

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
};

TEST_F(GatewayOptionsTest, DefaultsComeFromTheTable) {
    const GatewayOptions options = parse({});
    EXPECT_EQ(options.listen_host, "127.0.0.1");
    EXPECT_EQ(options.listen_port, 8080);
    EXPECT_EQ(options.max_header_bytes, 16384U);
    EXPECT_EQ(options.max_body_bytes, 1048576U);
    EXPECT_EQ(options.header_timeout, 10);
    EXPECT_EQ(options.drain_seconds, 20);
    EXPECT_EQ(options.max_connections, 1000);
    EXPECT_EQ(options.db_connections, 8);
    EXPECT_TRUE(options.trusted_proxies.empty());
}

TEST_F(GatewayOptionsTest, Addresses) {
    EXPECT_EQ(parse({"--listen", "[::1]:0"}).listen_host, "::1");
    EXPECT_EQ(parse({"--listen=localhost:443"}).listen_port, 443);
    for (const char* odd : {"8080", ":8080", "::1:8080", "a:65536", "a:", ""}) {
        EXPECT_NE(error_of({"--listen", odd}), "") << odd;
    }
    EXPECT_EQ(
        parse({"--trusted-proxy", "10.0.0.0/8, ::1", "--trusted-proxy=127.0.0.1"}).trusted_proxies.size(),
        3U);
    EXPECT_EQ(error_of({"--trusted-proxy", "proxy.example"}),
              "--trusted-proxy: 'proxy.example' is not an address or a block like 10.0.0.0/8");
    EXPECT_EQ(parse({"--public-url", "https://a.example/base/"}).public_url, "https://a.example/base");
    for (const char* odd : {"a.example", "ftp://a", "https://a?b", "https://a b"}) {
        EXPECT_NE(error_of({"--public-url", odd}), "") << odd;
    }
}

TEST_F(GatewayOptionsTest, Places) {
    environment_ = {{"SYNC_GATEWAY_CONFIG", "/c"}, {"SYNC_GATEWAY_IDLE_TIMEOUT", "7"}};
    files_ = {{"/c", "idle_timeout = 8\nwrite-timeout = 9\n"}};
    const GatewayOptions options = parse({});
    EXPECT_EQ(options.idle_timeout, 7);
    EXPECT_EQ(options.write_timeout, 9);
    EXPECT_EQ(parse({"--idle-timeout", "6"}).idle_timeout, 6);
}

TEST_F(GatewayOptionsTest, CertificateAndKey) {
    EXPECT_EQ(error_of({"--tls-cert", "a"}), "--tls-cert and --tls-key need each other");
    EXPECT_EQ(parse({"--tls-cert", "a", "--tls-key", "b"}).tls_key, "b");
}

TEST_F(GatewayOptionsTest, PasswordsStayOffTheCommandLine) {
    EXPECT_NE(error_of({"--database-url", "postgresql://u:secret@h/d"}).find("SYNC_GATEWAY_DATABASE_URL"),
              std::string::npos);
}

TEST_F(GatewayOptionsTest, HelpNamesAll) {
    const std::string help = gateway_help_text();
    for (const GatewayOptionSpec& spec : gateway_option_table()) {
        EXPECT_NE(help.find("  --" + std::string(spec.name)), std::string::npos) << spec.name;
    }
    EXPECT_NE(help.find("Default: 127.0.0.1:8080."), std::string::npos);
}

}  // namespace
}  // namespace sync_engine

#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "executor/options.hpp"

namespace sync_engine {
namespace {

class DeliveryOptionsTest : public testing::Test {
  protected:
    Options parse(std::vector<std::string> arguments) {
        const auto look_up = [](const std::map<std::string, std::string>& in, const std::string& key) {
            const auto found = in.find(key);
            return found == in.end() ? std::nullopt : std::optional(found->second);
        };
        return parse_options(arguments, {[&](const std::string& name) { return look_up(environment_, name); },
                                         [&](const std::string& path) { return look_up(files_, path); }});
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
};

TEST_F(DeliveryOptionsTest, DeliverWebhooksAndNoMailsByDefault) {
    const Options options = parse({});
    EXPECT_TRUE(options.deliver);
    EXPECT_EQ(options.delivery_concurrency, 16);
    EXPECT_TRUE(options.webhook_addresses.empty());
    EXPECT_EQ(options.smtp_url, "");
    EXPECT_EQ(options.smtp_tls, SmtpTls::required);
    EXPECT_FALSE(options.mail_from);
    EXPECT_FALSE(parse({"--deliver", "off"}).deliver);
}

TEST_F(DeliveryOptionsTest, ConnectorsPermissionsAreNotThoseOfWebhooks) {
    const Options options = parse({"--allow-private-addresses", "loopback",
                                   "--webhook-allow-private-addresses", "10.0.0.0/8, private"});
    EXPECT_EQ(options.allowed_addresses, (std::vector<std::string>{"loopback"}));
    EXPECT_EQ(options.webhook_addresses, (std::vector<std::string>{"10.0.0.0/8", "private"}));
    EXPECT_TRUE(error_of({"--webhook-allow-private-addresses", "localhost"})
                    .starts_with("--webhook-allow-private-addresses: 'localhost' is not"));
}

TEST_F(DeliveryOptionsTest, MailOptionsAreChecked) {
    const Options options =
        parse({"--smtp-url", "smtp://mail.example:587", "--smtp-tls", "opportunistic", "--smtp-user", "me",
               "--smtp-password-file", "/run/pw", "--mail-from", "Sync <no-reply@sync.example>",
               "--unsubscribe-url", "https://c.example/{token}", "--delivery-concurrency", "4"});
    EXPECT_EQ(options.smtp_url, "smtp://mail.example:587");
    EXPECT_EQ(options.smtp_tls, SmtpTls::opportunistic);
    EXPECT_EQ(options.smtp_user, "me");
    EXPECT_EQ(options.smtp_password_file, "/run/pw");
    ASSERT_TRUE(options.mail_from);
    EXPECT_EQ(options.mail_from->name, "Sync");
    EXPECT_EQ(options.unsubscribe_url, "https://c.example/{token}");
    EXPECT_EQ(options.delivery_concurrency, 4);
    EXPECT_EQ(error_of({"--smtp-url", "mail.example"}),
              "--smtp-url: must be smtp://host:port or smtps://host:port");
    EXPECT_EQ(error_of({"--smtp-tls", "on"}), "--smtp-tls: must be required, opportunistic or off");
    EXPECT_EQ(error_of({"--mail-from", "nobody"}),
              "--mail-from: must be an e-mail address or Name <address>");
    EXPECT_EQ(error_of({"--unsubscribe-url", "https://c.example/"}),
              "--unsubscribe-url: must hold {token} once");
    EXPECT_NE(error_of({"--delivery-concurrency", "0"}), "");
    EXPECT_NE(error_of({"--delivery-concurrency", "1001"}), "");
}

TEST_F(DeliveryOptionsTest, ThePasswordIsNeverTakenFromTheCommandLine) {
    for (const auto& arguments : std::vector<std::vector<std::string>>{{"--smtp-password", "hunter22"},
                                                                       {"--smtp-password=hunter22"}}) {
        const std::string error = error_of(arguments);
        EXPECT_NE(error.find("visible"), std::string::npos);
        EXPECT_NE(error.find("SYNC_EXECUTOR_SMTP_PASSWORD"), std::string::npos);
        EXPECT_EQ(error.find("hunter22"), std::string::npos);
    }
    environment_["SYNC_EXECUTOR_SMTP_PASSWORD"] = "hunter22";
    EXPECT_EQ(parse({}).smtp_password, "hunter22");
    environment_.clear();
    files_["f"] = "smtp-password = hunter33\n";
    EXPECT_EQ(parse({"--config", "f"}).smtp_password, "hunter33");
}

TEST_F(DeliveryOptionsTest, AUrlWithAPasswordIsRefusedWithoutRepeatingIt) {
    const std::string error = error_of({"--smtp-url", "smtp://me:hunter22@mail.example"});
    EXPECT_NE(error, "");
    EXPECT_EQ(error.find("hunter22"), std::string::npos);
}

}  // namespace
}  // namespace sync_engine

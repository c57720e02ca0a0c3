#include "notify/webhook_signature.hpp"

#include <string>

#include <gtest/gtest.h>

#include "notify/base64.hpp"

namespace sync_engine {
namespace {

constexpr const char* kSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
constexpr const char* kId = "msg_p5jXN8AQM9LWM0D4loKWxJek";
constexpr const char* kBody = R"({"test": 2432232314})";
constexpr std::int64_t kTime = 1614265330;
constexpr const char* kExpected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

TEST(WebhookSignature, IsThatOfTheStandardsVector) {
    const WebhookSignature signature = webhook_signature(kId, kTime, kBody, {kSecret});
    EXPECT_EQ(signature.fault, "");
    EXPECT_EQ(signature.value, kExpected);
}

TEST(WebhookSignature, TakesASecretWithoutItsPrefix) {
    EXPECT_EQ(webhook_signature(kId, kTime, kBody, {std::string(kSecret).substr(6)}).value, kExpected);
}

TEST(WebhookSignature, SignsWithEachSecretNewestFirst) {
    const std::string newest = "whsec_" + base64_encode(std::string(32, 'n'));
    const std::string value = webhook_signature(kId, kTime, kBody, {newest, kSecret}).value;
    const std::string alone = webhook_signature(kId, kTime, kBody, {newest}).value;
    EXPECT_EQ(value, alone + " " + kExpected);
}

TEST(WebhookSignature, DependsOnIdTimeAndBody) {
    const auto value = [](const char* id, std::int64_t time, const char* body) {
        return webhook_signature(id, time, body, {kSecret}).value;
    };
    EXPECT_NE(value("msg_other", kTime, kBody), kExpected);
    EXPECT_NE(value(kId, kTime + 1, kBody), kExpected);
    EXPECT_NE(value(kId, kTime, "{}"), kExpected);
}

TEST(WebhookSignature, KeysHave24To64Bytes) {
    const auto fault = [](std::size_t bytes) {
        return webhook_signature(kId, kTime, kBody, {"whsec_" + base64_encode(std::string(bytes, 'k'))})
            .fault;
    };
    EXPECT_EQ(fault(24), "");
    EXPECT_EQ(fault(64), "");
    EXPECT_EQ(fault(23), "signing secret 1 of 1 is not 24 to 64 bytes long");
    EXPECT_EQ(fault(65), "signing secret 1 of 1 is not 24 to 64 bytes long");
    EXPECT_EQ(fault(0), "signing secret 1 of 1 is not 24 to 64 bytes long");
}

TEST(WebhookSignature, SaysWhatIsWrongAndQuotesNothing) {
    EXPECT_EQ(webhook_signature(kId, kTime, kBody, {}).fault, "there is no signing secret");
    EXPECT_NE(webhook_signature("", kTime, kBody, {kSecret}).fault, "");
    EXPECT_NE(webhook_signature("msg.1", kTime, kBody, {kSecret}).fault, "");
    const WebhookSignature bad = webhook_signature(kId, kTime, kBody, {kSecret, "whsec_hunter2 hunter2"});
    EXPECT_EQ(bad.fault, "signing secret 2 of 2 is not base64");
    EXPECT_EQ(bad.value, "");
}

TEST(Base64, RoundTripsEveryLength) {
    std::string bytes;
    for (int i = 0; i < 70; ++i) {
        const std::string text = base64_encode(bytes);
        EXPECT_EQ(text.size() % 4, 0U);
        EXPECT_EQ(base64_decode(text), bytes);
        EXPECT_EQ(base64_decode(text.substr(0, text.find('='))), bytes);
        bytes += static_cast<char>(i * 37);
    }
    EXPECT_EQ(base64_encode("fo"), "Zm8=");
    EXPECT_EQ(base64_encode(""), "");
}

TEST(Base64, RefusesWhatNoEncoderWrites) {
    for (const char* bad : {"A", "AAAAA", "Zm8=Zm8=", "Zm9=", "Zm 8=", "Zm8\n", "Zm-_", "====", "Zg=", "="}) {
        EXPECT_EQ(base64_decode(bad), std::nullopt) << bad;
    }
}

}  // namespace
}  // namespace sync_engine

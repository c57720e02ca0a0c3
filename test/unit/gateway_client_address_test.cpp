#include <gtest/gtest.h>

#include "gateway/client_address.hpp"

namespace sync_engine {
namespace {

IpAddress address(std::string_view text) {
    const auto parsed = parse_ip_address(text);
    EXPECT_TRUE(parsed) << text;
    return parsed.value_or(IpAddress());
}

std::vector<AddressBlock> blocks(std::initializer_list<std::string_view> texts) {
    std::vector<AddressBlock> all;
    for (const std::string_view text : texts) {
        all.push_back(parse_address_block(text).value());
    }
    return all;
}

std::string client(std::string_view peer, std::string forwarded,
                   std::initializer_list<std::string_view> trusted) {
    HttpRequest request;
    request.headers.emplace_back("x-forwarded-for", std::move(forwarded));
    return ip_address_text(client_address(address(peer), request, blocks(trusted)));
}

TEST(ClientAddress, OnlyTrustedPeersForward) {
    EXPECT_EQ(client("192.0.2.1", "203.0.113.7", {}), "192.0.2.1");
    EXPECT_EQ(client("192.0.2.1", "203.0.113.7", {"10.0.0.0/8"}), "192.0.2.1");
    EXPECT_EQ(client("10.0.0.1", "203.0.113.7", {"10.0.0.0/8"}), "203.0.113.7");
    // A listener on IPv6 sees IPv4 clients so.
    EXPECT_EQ(client("::ffff:10.0.0.1", "203.0.113.7", {"10.0.0.0/8"}), "203.0.113.7");
    EXPECT_EQ(client("fd00::5", "2001:db8::9", {"fd00::/8"}), "2001:db8::9");
}

TEST(ClientAddress, RightmostThatIsNoProxy) {
    EXPECT_EQ(client("10.0.0.1", "1.1.1.1, 203.0.113.7, 10.0.0.2", {"10.0.0.0/8"}), "203.0.113.7");
    EXPECT_EQ(client("10.0.0.1", "10.0.0.3,10.0.0.2", {"10.0.0.0/8"}), "10.0.0.3");
    EXPECT_EQ(client("10.0.0.1", "", {"10.0.0.0/8"}), "10.0.0.1");
    EXPECT_EQ(client("10.0.0.1", "1.1.1.1, nonsense", {"10.0.0.0/8"}), "10.0.0.1");
    EXPECT_EQ(client("10.0.0.1", "1.1.1.1,,10.0.0.2", {"10.0.0.0/8"}), "10.0.0.2");
}

TEST(ClientAddress, EntriesMayHavePorts) {
    const auto text = [](std::string_view entry) {
        const auto found = forwarded_address(entry);
        return found ? ip_address_text(*found) : "";
    };
    EXPECT_EQ(text("203.0.113.7:80"), "203.0.113.7");
    EXPECT_EQ(text("[2001:db8::1]:80"), "2001:db8::1");
    EXPECT_EQ(text("[2001:db8::1]"), "2001:db8::1");
    EXPECT_EQ(text("2001:db8::1"), "2001:db8::1");
    for (const char* odd : {"", "[", "[]", "[2001:db8::1", "a:80", ":80", "1.2.3", "1.2.3.4.5"}) {
        EXPECT_EQ(text(odd), "") << odd;
    }
}

TEST(ClientAddress, SecureByTheNearestProxysWord) {
    const auto secure = [](std::string_view peer, bool tls, std::string proto) {
        HttpRequest request;
        request.headers.emplace_back("x-forwarded-proto", std::move(proto));
        return came_securely(address(peer), tls, request, blocks({"10.0.0.0/8"}));
    };
    EXPECT_TRUE(secure("10.0.0.1", false, "https"));
    EXPECT_FALSE(secure("10.0.0.1", true, "http"));
    EXPECT_FALSE(secure("192.0.2.1", false, "https"));
    EXPECT_TRUE(secure("192.0.2.1", true, "http"));
    EXPECT_TRUE(came_securely(address("10.0.0.1"), true, HttpRequest(), blocks({"10.0.0.0/8"})));
}

TEST(ClientAddress, IsHiddenBehindAProxyThatIsNotBelievedOrDoesNotSay) {
    const auto hidden = [](std::string_view peer, std::initializer_list<const char*> names) {
        HttpRequest request;
        for (const char* name : names) {
            request.headers.emplace_back(name, "203.0.113.7");
        }
        return hides_client(address(peer), request, blocks({"10.0.0.0/8"}));
    };
    EXPECT_FALSE(hidden("127.0.0.1", {"host", "user-agent"}));
    EXPECT_TRUE(hidden("127.0.0.1", {"x-forwarded-for"}));
    EXPECT_TRUE(hidden("127.0.0.1", {"forwarded"}));
    EXPECT_TRUE(hidden("127.0.0.1", {"via"}));
    EXPECT_FALSE(hidden("10.0.0.1", {"via", "x-forwarded-for"}));
    EXPECT_TRUE(hidden("10.0.0.1", {"via", "forwarded"}));
    EXPECT_FALSE(hidden("10.0.0.1", {"host"}));
}

TEST(ClientAddress, CountedByNetworkOfOneHost) {
    EXPECT_EQ(client_key(address("192.0.2.1")), "192.0.2.1");
    EXPECT_EQ(client_key(address("::ffff:192.0.2.1")), "192.0.2.1");
    EXPECT_EQ(client_key(address("2001:db8:1:2:3:4:5:6")), client_key(address("2001:db8:1:2::1")));
    EXPECT_NE(client_key(address("2001:db8:1:3::1")), client_key(address("2001:db8:1:2::1")));
}

}  // namespace
}  // namespace sync_engine

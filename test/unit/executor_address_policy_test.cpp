#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include "executor/address_policy.hpp"

namespace sync_engine {
namespace {

IpAddress ip(const std::string& text) {
    const auto address = parse_ip_address(text);
    EXPECT_TRUE(address) << text;
    return address.value_or(IpAddress{});
}

struct Case {
    const char* address;
    AddressClass expected;
};

class ClassifyTest : public testing::TestWithParam<Case> {};

TEST_P(ClassifyTest, Address) {
    EXPECT_EQ(classify_address(ip(GetParam().address)), GetParam().expected) << GetParam().address;
}

using enum AddressClass;
INSTANTIATE_TEST_SUITE_P(
    V4, ClassifyTest,
    testing::Values(
        Case{"0.0.0.0", unspecified}, Case{"0.255.255.255", unspecified}, Case{"1.0.0.0", global},
        Case{"9.255.255.255", global}, Case{"10.0.0.0", private_use}, Case{"10.255.255.255", private_use},
        Case{"11.0.0.0", global}, Case{"100.63.255.255", global}, Case{"100.64.0.0", carrier_nat},
        Case{"100.127.255.255", carrier_nat}, Case{"100.128.0.0", global}, Case{"127.0.0.1", loopback},
        Case{"127.255.255.254", loopback}, Case{"169.254.169.254", link_local}, Case{"169.255.0.0", global},
        Case{"172.15.255.255", global}, Case{"172.16.0.0", private_use}, Case{"172.31.255.255", private_use},
        Case{"172.32.0.0", global}, Case{"192.0.0.8", reserved}, Case{"192.0.2.1", documentation},
        Case{"192.88.99.1", transition}, Case{"192.167.255.255", global}, Case{"192.168.0.0", private_use},
        Case{"192.169.0.0", global}, Case{"198.17.255.255", global}, Case{"198.18.0.0", reserved},
        Case{"198.19.255.255", reserved}, Case{"198.51.100.7", documentation},
        Case{"203.0.113.9", documentation}, Case{"223.255.255.255", global}, Case{"224.0.0.1", multicast},
        Case{"239.255.255.255", multicast}, Case{"240.0.0.0", reserved}, Case{"255.255.255.255", reserved},
        Case{"8.8.8.8", global}, Case{"140.82.121.6", global}));

INSTANTIATE_TEST_SUITE_P(V6, ClassifyTest,
                         testing::Values(Case{"::", unspecified}, Case{"::1", loopback},
                                         Case{"::2", reserved}, Case{"fc00::1", private_use},
                                         Case{"fdff::1", private_use}, Case{"fe80::1", link_local},
                                         Case{"febf::1", link_local}, Case{"fec0::1", private_use},
                                         Case{"ff02::1", multicast}, Case{"100::1", reserved},
                                         Case{"2001:db8::1", documentation}, Case{"3fff::1", documentation},
                                         Case{"2001:0:4136:e378::1", transition}, Case{"2001:2::1", reserved},
                                         Case{"2001:10::1", reserved}, Case{"2002:7f00:1::1", transition},
                                         Case{"2002:808:808::1", transition}, Case{"4000::1", reserved},
                                         Case{"5f00::1", reserved}, Case{"64:ff9b:1::1", reserved},
                                         Case{"2001:200::1", global}, Case{"2606:4700:4700::1111", global},
                                         Case{"2a01:4f8::1", global}));

INSTANTIATE_TEST_SUITE_P(
    EmbeddedV4, ClassifyTest,
    testing::Values(Case{"::ffff:127.0.0.1", loopback}, Case{"::ffff:10.1.2.3", private_use},
                    Case{"::ffff:169.254.169.254", link_local}, Case{"::ffff:8.8.8.8", global},
                    Case{"::127.0.0.1", loopback}, Case{"::10.0.0.1", private_use},
                    Case{"64:ff9b::127.0.0.1", loopback}, Case{"64:ff9b::192.168.1.1", private_use},
                    Case{"64:ff9b::8.8.8.8", global}));

TEST(AddressParsing, TakesNumericTextOnly) {
    for (const char* text : {"localhost", "127.1", "2130706433", "0x7f.0.0.1", "0177.0.0.1", "1.2.3.4.5", "",
                             "::g", "[::1]", "fe80::1%eth0", " 1.2.3.4"}) {
        EXPECT_FALSE(parse_ip_address(text)) << text;
    }
    for (const char* text :
         {"10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/", "10.0.0.0/8x", "/8", "::/129", "x/8"}) {
        EXPECT_FALSE(parse_address_block(text)) << text;
    }
    EXPECT_TRUE(parse_address_block("0.0.0.0/0")->contains(ip("203.0.113.1")));
    EXPECT_FALSE(parse_address_block("0.0.0.0/0")->contains(ip("::1")));
    EXPECT_TRUE(parse_address_block("10.0.0.0/9")->contains(ip("10.127.255.255")));
    EXPECT_FALSE(parse_address_block("10.0.0.0/9")->contains(ip("10.128.0.0")));
    EXPECT_TRUE(parse_address_block("fd12:3456::/31")->contains(ip("fd12:3457::1")));
    EXPECT_FALSE(parse_address_block("fd12:3456::/32")->contains(ip("fd12:3457::1")));
}

bool permits(const AddressPolicy& policy, const std::string& address, std::uint16_t port = 443) {
    return policy.permits(Endpoint{ip(address), port});
}

TEST(AddressPolicy, RefusesAllThatIsNotGlobalUnlessAllowed) {
    AddressPolicy policy;
    EXPECT_TRUE(permits(policy, "140.82.121.6"));
    EXPECT_TRUE(permits(policy, "2606:4700:4700::1111"));
    for (const char* address : {"127.0.0.1", "::1", "10.0.0.1", "169.254.169.254", "::ffff:127.0.0.1",
                                "0.0.0.0", "fd00::1", "64:ff9b::10.0.0.1", "2002:a00:1::", "100.64.0.1"}) {
        EXPECT_FALSE(permits(policy, address)) << address;
    }
}

TEST(AddressPolicy, RulesOpenWhatTheyNameAndNothingElse) {
    AddressPolicy loopback;
    EXPECT_TRUE(loopback.allow("loopback"));
    EXPECT_TRUE(permits(loopback, "127.0.0.1"));
    EXPECT_TRUE(permits(loopback, "::1"));
    EXPECT_TRUE(permits(loopback, "::ffff:127.0.0.1"));
    EXPECT_FALSE(permits(loopback, "10.0.0.1"));
    EXPECT_FALSE(permits(loopback, "169.254.169.254"));

    AddressPolicy block;
    EXPECT_TRUE(block.allow("10.1.0.0/16"));
    EXPECT_TRUE(permits(block, "10.1.2.3"));
    EXPECT_FALSE(permits(block, "10.2.0.1"));

    AddressPolicy one;
    EXPECT_TRUE(one.allow("fd00::5"));
    EXPECT_TRUE(permits(one, "fd00::5"));
    EXPECT_FALSE(permits(one, "fd00::6"));

    AddressPolicy internal;
    EXPECT_TRUE(internal.allow("private"));
    EXPECT_TRUE(permits(internal, "192.168.1.1"));
    EXPECT_TRUE(permits(internal, "fd00::6"));
    EXPECT_FALSE(permits(internal, "127.0.0.1"));
    EXPECT_FALSE(permits(internal, "169.254.169.254"));

    AddressPolicy all;
    EXPECT_TRUE(all.allow("all"));
    EXPECT_TRUE(permits(all, "169.254.169.254"));

    EXPECT_FALSE(AddressPolicy().allow("localhost"));
    EXPECT_FALSE(AddressPolicy().allow(""));
}

TEST(AddressPolicy, OwnAddressesAreInternal) {
    AddressPolicy policy;
    policy.add_own_address(ip("140.82.121.6"));
    EXPECT_FALSE(permits(policy, "140.82.121.6"));
    EXPECT_FALSE(permits(policy, "::ffff:140.82.121.6"));
    EXPECT_TRUE(permits(policy, "140.82.121.7"));
    EXPECT_TRUE(policy.allow("140.82.121.6"));
    EXPECT_TRUE(permits(policy, "140.82.121.6"));
}

TEST(AddressPolicy, TheDatabaseIsNeverReachedWhateverIsAllowed) {
    AddressPolicy policy;
    policy.allow("all");
    policy.set_database_endpoint(Endpoint{ip("127.0.0.1"), 5432});
    EXPECT_FALSE(permits(policy, "127.0.0.1", 5432));
    EXPECT_FALSE(permits(policy, "::ffff:127.0.0.1", 5432));
    EXPECT_TRUE(permits(policy, "127.0.0.1", 8080));
    policy.set_database_endpoint(std::nullopt);
    EXPECT_TRUE(permits(policy, "127.0.0.1", 5432));
}

TEST(AddressPolicy, ReadsSocketAddressesAndRefusesOtherFamilies) {
    AddressPolicy policy;
    policy.allow("all");
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    v4.sin_port = htons(8080);
    inet_pton(AF_INET, "10.1.2.3", &v4.sin_addr);
    const auto* address = reinterpret_cast<const sockaddr*>(&v4);
    EXPECT_EQ(endpoint_of(address, sizeof(v4)), (Endpoint{ip("10.1.2.3"), 8080}));
    EXPECT_TRUE(policy.permits(address, sizeof(v4)));
    EXPECT_FALSE(policy.permits(address, 4));
    EXPECT_FALSE(policy.permits(nullptr, 0));

    sockaddr_un local{};
    local.sun_family = AF_UNIX;
    EXPECT_FALSE(policy.permits(reinterpret_cast<const sockaddr*>(&local), sizeof(local)));
}

}  // namespace
}  // namespace sync_engine

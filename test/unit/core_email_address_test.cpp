#include "core/email_address.hpp"

#include <string>

#include <gtest/gtest.h>

namespace sync_engine {
namespace {

using std::string_literals::operator""s;

TEST(EmailAddress, AcceptsWhatPeopleHave) {
    for (const std::string address :
         {"a@b.example", "first.last+tag@mail.example.org", "o'brien@example.com", "x@1and1.example",
          "A_b-c/d=e?f^g`{h|i}~!#$%&'*@EXAMPLE.COM", "user@xn--bcher-kva.example", "1@2.example"}) {
        EXPECT_EQ(email_fault(address), "") << address;
    }
}

TEST(EmailAddress, RefusesAndSaysWhy) {
    const std::pair<std::string, std::string_view> cases[] = {
        {"", "is empty"},
        {"nobody", "has no @"},
        {"@example.com", "has nothing before its @"},
        {"a@", "has no domain after its @"},
        {"a@localhost", "has no dot in its domain"},
        {"a b@example.com", "has a blank or a control character"},
        {"a@example.com\r\nBcc: x@y.example", "has a blank or a control character"},
        {"a@example.com\0"s, "has a blank or a control character"},
        {"a\x7f@example.com", "has a blank or a control character"},
        {".a@example.com", "has a dot too many before its @"},
        {"a.@example.com", "has a dot too many before its @"},
        {"a..b@example.com", "has a dot too many before its @"},
        {"a@example.com.", "has an empty label in its domain"},
        {"a@.example.com", "has an empty label in its domain"},
        {"a@b..example", "has an empty label in its domain"},
        {"a@-b.example", "has a label in its domain that begins or ends with a hyphen"},
        {"a@b-.example", "has a label in its domain that begins or ends with a hyphen"},
        {"a@b.example-", "has a label in its domain that begins or ends with a hyphen"},
        {"a@b_c.example", "has a character in its domain that is neither a letter, a digit nor a hyphen"},
        {"a@b.example>", "has a character in its domain that is neither a letter, a digit nor a hyphen"},
        {"a@[127.0.0.1]", "names a host by its IP address; a domain name is needed"},
        {"a@127.0.0.1", "names a host by its IP address; a domain name is needed"},
        {"a@b\xC3\xBC.example",
         "has a character outside of ASCII in its domain; write the domain in its xn-- form"},
        {"\xC3\xBC@b.example", "has a character outside of ASCII before its @, which is not supported"},
    };
    for (const auto& [address, fault] : cases) {
        EXPECT_EQ(email_fault(address), fault) << address;
    }
}

TEST(EmailAddress, RefusesQuotesCommentsAndLists) {
    for (const std::string address : {"\"a\"@b.example", "a(x)@b.example", "<a@b.example>", "a@b@c.example",
                                      "a,b@c.example", "a;b@c.example", "a:b@c.example", "a\\b@c.example"}) {
        EXPECT_NE(email_fault(address), "") << address;
    }
}

TEST(EmailAddress, Bounds) {
    EXPECT_EQ(email_fault(std::string(64, 'a') + "@b.example"), "");
    EXPECT_EQ(email_fault(std::string(65, 'a') + "@b.example"), "has more than 64 characters before its @");
    EXPECT_EQ(email_fault("a@" + std::string(63, 'b') + ".example"), "");
    EXPECT_EQ(email_fault("a@" + std::string(64, 'b') + ".example"),
              "has a label of more than 63 characters in its domain");
    std::string longest = "a@";
    while (longest.size() + 10 <= kMaxEmailAddress) {
        longest += "bbbbbbbbb.";
    }
    longest.append(kMaxEmailAddress - longest.size(), 'c');
    EXPECT_EQ(email_fault(longest), "");
    EXPECT_EQ(email_fault(longest + "c"), "is longer than 254 characters");
}

}  // namespace
}  // namespace sync_engine

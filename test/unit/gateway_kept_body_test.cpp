#include <gtest/gtest.h>

#include <string>

#include "gateway/api/kept_body.hpp"

namespace sync_engine {
namespace {

TEST(KeptBody, IsReadByWhoeverHasTokenAndKey) {
    for (const std::string& body : {std::string(), std::string(R"({"secret": "whsec_abc"})"),
                                    std::string("a\0b", 3), std::string(1000000, 'x')}) {
        EXPECT_EQ(unseal_body("syn_1", "k", seal_body("syn_1", "k", body)), body);
    }
}

TEST(KeptBody, IsReadByNobodyElse) {
    const std::string sealed = seal_body("syn_1", "k", "whsec_abc");
    EXPECT_EQ(unseal_body("syn_2", "k", sealed), std::nullopt);
    EXPECT_EQ(unseal_body("syn_1", "l", sealed), std::nullopt);
    EXPECT_EQ(sealed.find("whsec"), std::string::npos);
}

TEST(KeptBody, IsAnotherEachTime) {
    EXPECT_NE(seal_body("syn_1", "k", "x"), seal_body("syn_1", "k", "x"));
}

TEST(KeptBody, WhatWasNotSealedIsNothing) {
    std::string broken = seal_body("syn_1", "k", "whsec_abc");
    broken[20] = broken[20] == 'A' ? 'B' : 'A';
    for (const std::string& text : {std::string(), std::string("{}"), std::string("AAAA"), broken}) {
        EXPECT_EQ(unseal_body("syn_1", "k", text), std::nullopt) << text;
    }
}

}  // namespace
}  // namespace sync_engine

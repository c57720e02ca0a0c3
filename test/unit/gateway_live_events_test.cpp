#include <gtest/gtest.h>

#include <string>

#include "gateway/live_events.hpp"

namespace sync_engine {
namespace {

using Kinds = std::vector<std::string>;

LiveEvent event(std::string kind, std::string connection_id = "5") {
    return {"1a-7", std::move(kind), std::move(connection_id), R"({"n":1})"};
}

LiveFilter filter_of(std::string_view target) {
    LiveFilter filter;
    std::string parameter;
    std::string fault;
    EXPECT_TRUE(read_live_filter(target, filter, parameter, fault)) << fault;
    return filter;
}

std::string refused(std::string_view target) {
    LiveFilter filter;
    std::string parameter;
    std::string fault;
    EXPECT_FALSE(read_live_filter(target, filter, parameter, fault)) << target;
    EXPECT_NE(fault, "");
    return parameter;
}

TEST(LiveEvents, WithoutAChoiceAllAreTold) {
    const LiveFilter all = filter_of("/api/v2/events");
    EXPECT_TRUE(all.takes(event("job")));
    EXPECT_TRUE(all.takes(event("notification", "")));
}

TEST(LiveEvents, KindsAndAConnectionAreChosen) {
    const LiveFilter some = filter_of("/api/v2/events?kinds=job,schedule&connection_id=5");
    EXPECT_EQ(some.kinds, (Kinds{"job", "schedule"}));
    EXPECT_TRUE(some.takes(event("job")));
    EXPECT_FALSE(some.takes(event("connection")));
    EXPECT_FALSE(some.takes(event("job", "6")));
    EXPECT_FALSE(some.takes(event("schedule", "")));
    // That all may have changed concerns everybody.
    EXPECT_TRUE(some.takes(reset_event("1a-8")));
    EXPECT_EQ(filter_of("/api/v2/events?kinds=job&kinds=connection").kinds, (Kinds{"job", "connection"}));
}

TEST(LiveEvents, WhatThereIsNotIsRefused) {
    EXPECT_EQ(refused("/api/v2/events?kinds=jobs"), "kinds");
    EXPECT_EQ(refused("/api/v2/events?kind=job"), "kind");
    EXPECT_EQ(refused("/api/v2/events?last_event_id=0-1&&connection_id=5&x"), "x");
    EXPECT_EQ(refused("/api/v2/events?kinds=job,,schedule"), "kinds");
    for (const std::string id : {"", "0", "-1", "1x", "99999999999999999999"}) {
        EXPECT_EQ(refused("/api/v2/events?connection_id=" + id), "connection_id");
    }
}

TEST(LiveEvents, AreWrittenAsTheStandardHasIt) {
    EXPECT_EQ(event_text(event("job")), "id: 1a-7\nevent: job\ndata: {\"n\":1}\n\n");
    EXPECT_EQ(event_text(reset_event("1a-8")), "id: 1a-8\nevent: reset\ndata: {}\n\n");
    EXPECT_EQ(end_text("it is \"revoked\""), "event: end\ndata: {\"reason\":\"it is \\\"revoked\\\"\"}\n\n");
    EXPECT_EQ(ping_text(""), ": ping\n\n");
    EXPECT_EQ(ping_text("1a-9"), ": ping\nid: 1a-9\n\n");
    EXPECT_EQ(opening_text("1a-9"), "retry: 2000\nid: 1a-9\n\n");
    EXPECT_EQ(opening_text(""), "retry: 2000\n\n");
}

}  // namespace
}  // namespace sync_engine

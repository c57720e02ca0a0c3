#include <gtest/gtest.h>

#include "gateway/event_source.hpp"
#include "gateway/logged_path.hpp"
#include "gateway/problem.hpp"
#include "gateway/reply_text.hpp"
#include "gateway/request_id.hpp"

namespace sync_engine {
namespace {

class NoEvents : public EventSource {
  public:
    boost::asio::awaitable<std::string> next() override { co_return std::string(); }
    void closed() noexcept override {}
};

ReplyContext context() {
    ReplyContext context;
    context.keep_alive = true;
    context.request_id = "the-id";
    context.now = 784111777;
    return context;
}

TEST(ReplyText, Head) {
    HttpReply reply;
    reply.status = 201;
    reply.headers.emplace_back("Content-Type", "application/json");
    reply.body = "{}";
    EXPECT_EQ(
        reply_head(reply, context()),
        "HTTP/1.1 201 Created\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nX-Request-Id: the-id\r\n"
        "X-Content-Type-Options: nosniff\r\nContent-Type: application/json\r\nCache-Control: no-store\r\n"
        "Content-Length: 2\r\n\r\n");
}

TEST(ReplyText, WhatWouldBreakTheHeadIsLeftOut) {
    HttpReply plain;
    HttpReply reply;
    for (const char* name : {"Content-Length", "transfer-encoding", "Connection", "DATE", "X-Request-Id",
                             "Upgrade", "", "A B", "A:", "A\r\nB"}) {
        reply.headers.emplace_back(name, "1");
    }
    for (const char* value : {"a\r\nB: c", "a\nb", "a\rb", "\x01", "\x7f"}) {
        reply.headers.emplace_back("X-Value", value);
    }
    reply.headers.emplace_back("X-Nul", std::string("a\0b", 3));
    EXPECT_EQ(reply_head(reply, context()), reply_head(plain, context()));
}

TEST(ReplyText, Connection) {
    const auto ending = [](bool old, bool keep) {
        ReplyContext how = context();
        how.is_http_1_0 = old;
        how.keep_alive = keep;
        const std::string head = reply_head(HttpReply(), how);
        return head.substr(head.find("Content-Length"));
    };
    EXPECT_EQ(ending(false, true), "Content-Length: 0\r\n\r\n");
    EXPECT_EQ(ending(false, false), "Content-Length: 0\r\nConnection: close\r\n\r\n");
    EXPECT_EQ(ending(true, true), "Content-Length: 0\r\nConnection: keep-alive\r\n\r\n");
    EXPECT_EQ(ending(true, false), "Content-Length: 0\r\nConnection: close\r\n\r\n");
}

TEST(ReplyText, Streams) {
    HttpReply reply;
    reply.events = std::make_shared<NoEvents>();
    EXPECT_TRUE(
        reply_head(reply, context()).ends_with("Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"));
    ReplyContext old = context();
    old.is_http_1_0 = true;
    EXPECT_TRUE(reply_head(reply, old).ends_with("no-store\r\nConnection: close\r\n\r\n"));
    EXPECT_EQ(chunk("hello"), "5\r\nhello\r\n");
    EXPECT_EQ(chunk(std::string(300, 'x')).substr(0, 5), "12c\r\n");
    EXPECT_EQ(chunk(""), "0\r\n\r\n");
}

TEST(ReplyText, SecureAndCached) {
    HttpReply reply;
    reply.status = 304;
    reply.headers.emplace_back("cache-control", "max-age=5");
    ReplyContext how = context();
    how.secure = true;
    const std::string head = reply_head(reply, how);
    EXPECT_NE(head.find("\r\nStrict-Transport-Security: max-age=31536000\r\n"), std::string::npos);
    EXPECT_EQ(head.find("no-store"), std::string::npos);
    EXPECT_EQ(head.find("Content-Length"), std::string::npos);
}

TEST(Problem, Members) {
    EXPECT_EQ(problem_reply({404, "not_found", "", "", "", ""}, "").body,
              "{\"type\":\"about:blank\",\"title\":\"Not Found\",\"status\":404,\"code\":\"not_found\"}\n");
    const HttpReply reply =
        problem_reply({422, "invalid", "No \"such\" thing", "too small", "/a/0", "make it larger"}, "id");
    EXPECT_EQ(reply.body,
              "{\"type\":\"about:blank\",\"title\":\"No \\\"such\\\" thing\",\"status\":422,\"detail\":\"too "
              "small\","
              "\"code\":\"invalid\",\"errors\":[{\"pointer\":\"/a/0\",\"detail\":\"too small\"}],"
              "\"hint\":\"make it larger\",\"request_id\":\"id\"}\n");
    EXPECT_EQ(reply.headers.front().second, "application/problem+json");
}

TEST(LoggedPath, TokensAreMasked) {
    EXPECT_EQ(logged_path("/api/v2/connections/5"), "/api/v2/connections/5");
    EXPECT_EQ(logged_path("/hooks/github/whk_0123"), "/hooks/github/***");
    EXPECT_EQ(logged_path("/hooks/github/anything/else"), "/hooks/github/***/***");
    EXPECT_EQ(logged_path("/hooks/github/"), "/hooks/github/");
    EXPECT_EQ(logged_path("//hooks//github//token"), "//hooks//github//***");
    EXPECT_EQ(logged_path("/%68ooks/github/token"), "/%68ooks/github/***");
    EXPECT_EQ(logged_path("/HOOKS/github/token"), "/HOOKS/github/***");
    EXPECT_EQ(logged_path("/api/whk_0123/x"), "/api/***/x");
    EXPECT_EQ(logged_path("/api/%73yn_0123"), "/api/***");
    EXPECT_EQ(logged_path(""), "");
    EXPECT_EQ(logged_path("/"), "/");
    EXPECT_EQ(logged_path("/" + std::string(5000, 'x')).size(), 1027U);
}

TEST(RequestId, Shape) {
    RequestIds ids;
    const std::string one = ids.make();
    EXPECT_EQ(one.size(), 32U);
    EXPECT_TRUE(is_request_id(one));
    EXPECT_NE(one, ids.make());
    EXPECT_TRUE(is_request_id(std::string(64, 'a')));
    EXPECT_TRUE(is_request_id("A.b_c-9"));
    for (const std::string& odd :
         {std::string(), std::string(65, 'a'), std::string("a b"), std::string("a\n")}) {
        EXPECT_FALSE(is_request_id(odd)) << odd;
    }
}

}  // namespace
}  // namespace sync_engine

#include "executor/http_client.hpp"

#include <chrono>
#include <string>

#include <gtest/gtest.h>

#include "unit/socket_support.hpp"

namespace sync_engine {
namespace {

class HttpClientTest : public testing::Test {
  protected:
    HttpClientTest() { policy_.allow("loopback"); }

    HttpResponse fetch(HttpClient& client, const ScriptedServer& server, bool beginning_suffices,
                       std::size_t max_body_bytes = 1024) {
        ApiRequest request;
        request.method = "POST";
        request.url = "http://127.0.0.1:" + std::to_string(server.port()) + "/in";
        request.body = "{}";
        request.timeout_ms = 10'000;
        request.max_body_bytes = max_body_bytes;
        request.beginning_suffices = beginning_suffices;
        HttpResponse got;
        client.start(request, [&](HttpResponse&& response) {
            got = std::move(response);
            loop_.stop();
        });
        began_ = Clock::now();
        loop_.run();
        return got;
    }

    static ScriptedServer::Script answer(std::string text) { return {{"\r\n\r\n{}", std::move(text)}}; }

    CurlGlobal curl_;
    EventLoop loop_;
    AddressPolicy policy_;
    HttpClient plain_{loop_, policy_, {1 << 20, "test/1", "", false}};
    HttpClient fresh_{loop_, policy_, {1 << 20, "test/1", "", true}};
    Clock::time_point began_{};
};

TEST_F(HttpClientTest, OfALongBodyTheBeginningIsKept) {
    ScriptedServer server(
        answer("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + std::string(50'000, 'x')));
    const HttpResponse response = fetch(fresh_, server, true);
    EXPECT_EQ(response.error_code, "");
    EXPECT_EQ(response.status, 200);
    EXPECT_EQ(response.body, std::string(1024, 'x'));
}

TEST_F(HttpClientTest, ABodyThatDoesNotComeIsNotWaitedFor) {
    ScriptedServer server(answer("HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 100\r\n\r\nhel"));
    const HttpResponse response = fetch(fresh_, server, true);
    EXPECT_LT(Clock::now() - began_, std::chrono::seconds(8));
    EXPECT_EQ(response.error_code, "");
    EXPECT_EQ(response.status, 503);
    EXPECT_EQ(response.body, "hel");
    EXPECT_EQ(response.headers.front().second, "7");
}

TEST_F(HttpClientTest, ABodyThatBreaksOffAnswersAllTheSame) {
    ScriptedServer server(
        answer("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nhel"));
    const HttpResponse response = fetch(fresh_, server, true);
    EXPECT_EQ(response.error_code, "");
    EXPECT_EQ(response.body, "hel");  // not decoded
}

TEST_F(HttpClientTest, AnInterimReplyIsNotTheAnswer) {
    ScriptedServer server({{"\r\n\r\n{}", "HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n"},
                           {"", "HTTP/1.1 204 No Content\r\nA: b\r\n\r\n"}});
    const HttpResponse response = fetch(fresh_, server, true);
    EXPECT_EQ(response.status, 204);
    ASSERT_EQ(response.headers.size(), 1U);
    EXPECT_EQ(response.headers.front().first, "A");
}

TEST_F(HttpClientTest, WhereTheWholeIsWantedALongBodyIsAnError) {
    ScriptedServer server(
        answer("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + std::string(5000, 'x')));
    const HttpResponse response = fetch(plain_, server, false);
    EXPECT_EQ(response.error_code, "body_too_large");
    EXPECT_EQ(response.body, "");
}

TEST_F(HttpClientTest, TheRequestIsWhatWasAskedFor) {
    ScriptedServer server(answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
    fetch(fresh_, server, true);
    const std::string& seen = server.join();  // returns, so the connection was closed and not kept
    EXPECT_TRUE(seen.starts_with("POST /in HTTP/1.1\r\n"));
    EXPECT_NE(seen.find("User-Agent: test/1\r\n"), std::string::npos);
    EXPECT_EQ(seen.find("Accept-Encoding"), std::string::npos);
}

}  // namespace
}  // namespace sync_engine

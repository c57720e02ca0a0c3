#include <gtest/gtest.h>

#include <random>

#include "gateway/request_reader.hpp"

namespace sync_engine {
namespace {

using State = RequestReader::State;

constexpr RequestLimits kLimits{1000, 100};

struct Read {
    State state = State::head;
    unsigned status = 0;
    HttpRequest request;
    Framing framing;
    std::string rest;
};

// Feeds `text` in pieces of `size` bytes.
Read read(std::string_view text, std::size_t size = std::string_view::npos) {
    RequestReader reader(kLimits);
    Read result;
    std::string buffer;
    while (!text.empty() && result.state != State::done && result.state != State::refused) {
        buffer += text.substr(0, size);
        text.remove_prefix(std::min(size, text.size()));
        State before{};
        do {
            before = result.state;
            result.state = reader.read(buffer);
        } while (result.state == State::body && before == State::head && !buffer.empty());
    }
    result.status = reader.problem().status;
    result.request = reader.request();
    result.framing = reader.framing();
    result.rest = buffer + std::string(text);
    return result;
}

constexpr std::string_view kPost =
    "POST /a%20b?c=d HTTP/1.1\r\nHost: x\r\nX-One:  1 \r\nContent-Length: 5\r\n\r\nhelloGET";
constexpr std::string_view kChunked =
    "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nhel\r\n2\r\nlo\r\n0\r\n"
    "Authorization: x\r\n\r\nGET";

TEST(RequestReader, WhateverThePieces) {
    for (std::size_t size = 1; size < kChunked.size(); ++size) {
        for (const std::string_view text : {kPost, kChunked}) {
            const Read result = read(text, size);
            ASSERT_EQ(result.state, State::done) << size;
            EXPECT_EQ(result.request.body, "hello");
            EXPECT_EQ(result.rest, "GET");
            EXPECT_EQ(result.request.header("authorization"), nullptr);
        }
    }
    const Read post = read(kPost);
    EXPECT_EQ(post.request.method, "POST");
    EXPECT_EQ(post.request.path, "/a%20b");
    EXPECT_EQ(post.request.query, "c=d");
    ASSERT_NE(post.request.header("x-one"), nullptr);
    EXPECT_EQ(*post.request.header("x-one"), "1");
    EXPECT_TRUE(post.framing.keep_alive);
}

TEST(RequestReader, EmptyLinesBefore) {
    EXPECT_EQ(read("\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n").state, State::done);
    EXPECT_EQ(read("\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n").status, 400U);
}

TEST(RequestReader, Limits) {
    const std::string head = "GET / HTTP/1.1\r\nHost: x\r\nA: ";
    const std::string fits(kLimits.header_bytes - head.size() - 4, 'y');
    EXPECT_EQ(read(head + fits + "\r\n\r\n").state, State::done);
    EXPECT_EQ(read(head + fits + "y\r\n\r\n").status, 431U);
    EXPECT_EQ(read("GET /" + std::string(2000, 'y')).status, 414U);
    EXPECT_EQ(read("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 101\r\n\r\n").status, 413U);
    const std::string chunked = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    EXPECT_EQ(read(chunked + "65\r\n").status, 413U);
    EXPECT_EQ(read(chunked + "64\r\n" + std::string(100, 'y') + "\r\n1\r\n").status, 413U);
    EXPECT_EQ(read(chunked + "0;" + std::string(9000, 'y')).status, 400U);
    EXPECT_EQ(read(chunked + "0\r\nA: " + std::string(9000, 'y')).status, 400U);
}

TEST(RequestReader, Framing) {
    const auto of = [](std::string_view rest) {
        return read("GET / HTTP/1." + std::string(rest) + "\r\n\r\n").framing;
    };
    EXPECT_TRUE(of("1\r\nHost: x").keep_alive);
    EXPECT_FALSE(of("1\r\nHost: x\r\nConnection: foo, CLOSE").keep_alive);
    EXPECT_FALSE(of("0").keep_alive);
    EXPECT_TRUE(of("0\r\nConnection: Keep-Alive").keep_alive);
    EXPECT_FALSE(of("0\r\nConnection: keep-alive\r\nConnection: close").keep_alive);
    EXPECT_TRUE(of("1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-Continue").expects_continue);
    EXPECT_FALSE(of("0\r\nContent-Length: 5\r\nExpect: 100-Continue").expects_continue);
}

// Damaged in any way, a text is read the same however it is cut into pieces.
TEST(RequestReader, DamagedTextsInPieces) {
    std::mt19937 random(7);
    const auto below = [&random](std::size_t n) {
        return std::uniform_int_distribution<std::size_t>(0, n - 1)(random);
    };
    constexpr std::string_view kOdd("\r\n\0\t :;,%0x\x7f\xff", 14);
    for (int round = 0; round < 20000; ++round) {
        std::string text(round % 2 == 0 ? kPost : kChunked);
        for (std::size_t damage = below(3) + 1; damage > 0; --damage) {
            const std::size_t at = below(text.size());
            switch (below(3)) {
                case 0:
                    text[at] = kOdd[below(kOdd.size())];
                    break;
                case 1:
                    text.insert(at, 1, kOdd[below(kOdd.size())]);
                    break;
                default:
                    text.erase(at, 1);
            }
        }
        const Read whole = read(text);
        const Read pieces = read(text, below(7) + 1);
        ASSERT_EQ(whole.state, pieces.state) << text;
        ASSERT_EQ(whole.status, pieces.status) << text;
        if (whole.state == State::done) {
            ASSERT_EQ(whole.request.body, pieces.request.body) << text;
            ASSERT_EQ(whole.rest, pieces.rest) << text;
        }
    }
}

}  // namespace
}  // namespace sync_engine

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

#include <unistd.h>

#include "executor/curl_handles.hpp"
#include "executor/event_loop.hpp"
#include "process/retry_delay.hpp"

namespace sync_engine {
namespace {

class EventLoopTest : public testing::Test {
  protected:
    CurlGlobal curl_;
    EventLoop loop_;
};

TEST_F(EventLoopTest, TimersFireInOrderOfTheirTime) {
    std::string seen;
    const auto now = Clock::now();
    loop_.at(now + std::chrono::milliseconds(2), [&] { seen += 'c'; });
    loop_.at(now - std::chrono::seconds(1), [&] { seen += 'a'; });
    loop_.at(now, [&] { seen += 'b'; });
    loop_.at(now + std::chrono::milliseconds(3), [&] { loop_.stop(); });
    loop_.run();
    EXPECT_EQ(seen, "abc");
}

TEST_F(EventLoopTest, ACancelledTimerDoesNotFireAndASetTimerIsReplaced) {
    std::string seen;
    const auto id = loop_.after(0, [&] { seen += 'x'; });
    loop_.cancel(id);
    loop_.cancel(id);
    Timer timer(loop_);
    timer.set_after(0, [&] { seen += 'y'; });
    timer.set_after(0.001, [&] {
        EXPECT_FALSE(timer.pending());
        seen += 'z';
        loop_.stop();
    });
    EXPECT_TRUE(timer.pending());
    {
        Timer gone(loop_);
        gone.set_after(0, [&] { seen += 'g'; });
    }
    loop_.run();
    EXPECT_EQ(seen, "z");
}

TEST_F(EventLoopTest, StoppingBeforeTheWaitEndsItAtOnce) {
    // Nothing else would end the wait.
    loop_.on_idle([&] { loop_.stop(); });
    const auto began = Clock::now();
    loop_.run();
    EXPECT_LT(Clock::now() - began, std::chrono::seconds(10));
}

class Pipe : public FdSource {
  public:
    explicit Pipe(EventLoop& loop) : loop_(loop) {
        EXPECT_EQ(pipe(ends_.data()), 0);
        loop_.add(*this);
    }
    Pipe(const Pipe&) = delete;
    Pipe& operator=(const Pipe&) = delete;
    ~Pipe() override {
        loop_.remove(*this);
        close(ends_[0]);
        close(ends_[1]);
    }

    int fd() const noexcept override { return ends_[0]; }
    bool wants_read() const noexcept override { return true; }
    bool wants_write() const noexcept override { return false; }
    void on_ready(bool readable, bool) override {
        char c = 0;
        if (readable && read(ends_[0], &c, 1) == 1) {
            seen += c;
        }
        if (then) {
            then();
        }
    }
    void send(char c) const { EXPECT_EQ(write(ends_[1], &c, 1), 1); }

    std::string seen;
    std::function<void()> then;

  private:
    EventLoop& loop_;
    std::array<int, 2> ends_{};
};

TEST_F(EventLoopTest, DescriptorsAreReadWhenTheyAreReady) {
    Pipe first(loop_);
    Pipe second(loop_);
    second.then = [&] { loop_.stop(); };
    loop_.after(0, [&] { first.send('1'); });
    loop_.after(0.005, [&] { second.send('2'); });
    loop_.run();
    EXPECT_EQ(first.seen, "1");
    EXPECT_EQ(second.seen, "2");
}

TEST_F(EventLoopTest, ASourceMayGoWhileOthersAreServed) {
    Pipe first(loop_);
    auto second = std::make_unique<Pipe>(loop_);
    first.then = [&] {
        second.reset();
        loop_.stop();
    };
    first.send('1');
    second->send('2');
    loop_.run();
    EXPECT_EQ(first.seen, "1");
}

TEST(RetryDelay, DoublesUpToItsCapWithinTheUpperHalf) {
    RetryDelay delay(1, 8);
    for (const double full : {1.0, 2.0, 4.0, 8.0, 8.0}) {
        const double seconds = delay.next();
        EXPECT_GE(seconds, full / 2);
        EXPECT_LE(seconds, full);
    }
    delay.reset();
    EXPECT_LE(delay.next(), 1);
}

}  // namespace
}  // namespace sync_engine

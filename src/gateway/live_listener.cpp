#include "gateway/live_listener.hpp"

#include <algorithm>
#include <utility>

#include "process/retry_delay.hpp"

namespace sync_engine {

namespace asio = boost::asio;

namespace {

constexpr std::string_view kChannel = "sync_engine_changes";
constexpr std::string_view kAll = "*";

}  // namespace

LiveListener::LiveListener(const asio::any_io_executor& executor, Logger& log, const PgSettings& settings,
                           std::function<void(const std::string&)> changed)
    : log_(log), changed_(std::move(changed)), session_(executor, log, settings) {}

void LiveListener::close() {
    closed_ = true;
    session_.abort();
}

asio::awaitable<bool> LiveListener::connect() {
    const bool connected = co_await session_.connect();
    if (!connected) {
        co_return false;
    }
    co_return co_await session_.listen(kChannel);
}

asio::awaitable<void> LiveListener::run() {
    RetryDelay delay{0.1, 5};
    while (!closed_) {
        if (!session_.connected()) {
            const bool connected = co_await connect();
            if (connected) {
                delay.reset();
                log_.info("listening to the database");
                // What was notified meanwhile is not told again.
                changed_("");
                continue;
            }
            if (closed_) {
                co_return;
            }
            const double pause = delay.next();
            log_.warn("cannot listen to the database",
                      {{"error", session_.last_error()}, {"retry_in_seconds", pause}});
            const SteadyTime until = seconds_from_now(pause);
            while (!closed_ && std::chrono::steady_clock::now() < until) {
                co_await session_.idle(until);
            }
            continue;
        }
        for (const std::string& payload : session_.take_notifications()) {
            tell(payload);
        }
        co_await session_.idle(SteadyTime::max());
    }
}

void LiveListener::tell(const std::string& payload) {
    std::string_view rest = payload;
    while (!rest.empty()) {
        const std::size_t end = std::min(rest.find(','), rest.size());
        const std::string_view slot = rest.substr(0, end);
        changed_(slot == kAll ? "" : std::string(slot));
        rest.remove_prefix(std::min(end + 1, rest.size()));
    }
}

}  // namespace sync_engine

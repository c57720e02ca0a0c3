#include "gateway/live_tenant.hpp"

#include <algorithm>
#include <exception>
#include <utility>

#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "gateway/database_problem.hpp"

namespace sync_engine {

namespace asio = boost::asio;

namespace {

constexpr std::size_t kAtOnce = 64;

SteadyTime now() {
    return std::chrono::steady_clock::now();
}

double seconds_since(SteadyTime from) {
    return std::chrono::duration<double>(now() - from).count();
}

}  // namespace

LiveTenant::LiveTenant(const asio::any_io_executor& executor, PgPool& pool, Logger& log,
                       ServiceMetrics& metrics, const LiveTimes& times, std::string position)
    : executor_(executor),
      pool_(pool),
      log_(log),
      metrics_(metrics),
      times_(times),
      position_(std::move(position)),
      watched_at_(now()),
      changed_(executor) {}

void LiveTenant::add(const std::shared_ptr<LiveStream>& stream, std::string after) {
    streams_.push_back(stream);
    tokens_[stream->token()] = now();
    if (!after.empty()) {
        newcomers_.push_back({stream, std::move(after)});
        wake();
    }
}

std::vector<std::shared_ptr<LiveStream>> LiveTenant::open_streams() const {
    std::vector<std::shared_ptr<LiveStream>> open;
    for (const auto& weak : streams_) {
        if (auto stream = weak.lock(); stream && !stream->over()) {
            open.push_back(std::move(stream));
        }
    }
    return open;
}

// Without those who are yet to be told what they have missed: an event that came before it would take their
// position past that, so that they missed it for good if they came back then.
std::vector<std::shared_ptr<LiveStream>> LiveTenant::admitted_streams() const {
    auto streams = open_streams();
    std::erase_if(streams, [this](const auto& stream) {
        return std::ranges::any_of(
            newcomers_, [&](const Newcomer& newcomer) { return newcomer.stream.lock() == stream; });
    });
    return streams;
}

std::size_t LiveTenant::streams() const {
    return open_streams().size();
}

std::size_t LiveTenant::streams_of(std::string_view token) const {
    const auto open = open_streams();
    return static_cast<std::size_t>(
        std::ranges::count_if(open, [&](const auto& stream) { return stream->token() == token; }));
}

void LiveTenant::wake() {
    woken_ = true;
    changed_.notify();
}

void LiveTenant::close() {
    closed_ = true;
    for (const auto& stream : open_streams()) {
        stream->finish();
    }
    changed_.notify();
}

void LiveTenant::forget_gone() {
    std::erase_if(streams_, [](const auto& weak) {
        const auto stream = weak.lock();
        return !stream || stream->over();
    });
    std::erase_if(tokens_, [this](const auto& token) { return streams_of(token.first) == 0; });
}

std::string LiveTenant::next_token() const {
    const auto oldest = std::ranges::min_element(tokens_, {}, [](const auto& token) { return token.second; });
    return oldest == tokens_.end() ? "" : oldest->first;
}

asio::awaitable<void> LiveTenant::follow() {
    while (true) {
        forget_gone();
        if (closed_ || streams_.empty()) {
            co_return;
        }
        if (!woken_) {
            co_await changed_.wait(seconds_from_now(times_.fallback_seconds));
        }
        woken_ = false;
        std::string fault;
        try {
            co_await look();
        } catch (const std::exception& error) {
            fault = error.what();
        }
        if (!fault.empty()) {
            log_.error("changes cannot be told", {{"error", fault}});
        }
    }
}

asio::awaitable<void> LiveTenant::look() {
    co_await check_tokens();
    co_await admit();
    co_await advance();
}

asio::awaitable<void> LiveTenant::check_tokens() {
    std::string token = next_token();
    while (!closed_ && !token.empty() && seconds_since(tokens_[token]) > times_.check_seconds) {
        const PgOutcome outcome = co_await check_live(pool_, token);
        if (!outcome.done() && !is_refusal_of_client(outcome)) {
            co_return;
        }
        tokens_[token] = now();
        note_failure(token, outcome);
        forget_gone();
        token = next_token();
    }
}

// A token that is no good any more ends its streams. Anything else may pass.
void LiveTenant::note_failure(const std::string& token, const PgOutcome& outcome) {
    if (!is_refusal_of_client(outcome)) {
        return;
    }
    for (const auto& stream : open_streams()) {
        if (stream->token() == token) {
            stream->end(outcome.message);
        }
    }
}

// By the token that was looked at longest ago, so that each has its turn; by another where that is no good.
asio::awaitable<LiveBatch> LiveTenant::read(std::string after) {
    LiveBatch batch;
    batch.outcome.status = PgOutcome::Status::lost;
    while (true) {
        forget_gone();
        const std::string token = next_token();
        if (token.empty() || closed_) {
            co_return batch;
        }
        const bool watch = seconds_since(watched_at_) > kWatchSeconds / 2.0;
        batch = co_await read_live(pool_, token, after, watch);
        if (batch.outcome.done()) {
            tokens_[token] = now();
            watched_at_ = watch ? now() : watched_at_;
            co_return batch;
        }
        if (!is_refusal_of_client(batch.outcome)) {
            co_return batch;
        }
        note_failure(token, batch.outcome);
    }
}

void LiveTenant::deliver(LiveStream& stream, const LiveEvent& event, const SharedText& text) {
    if (!stream.filter().takes(event)) {
        return;
    }
    metrics_.event_sent(event.kind);
    if (!stream.push(event, text)) {
        metrics_.stream_overflowed();
    }
}

// Those who come back are told first, and one after the other with what all are told: nobody gets an older
// state after a newer one. After a restart of the gateway many come back from the same position.
asio::awaitable<void> LiveTenant::admit() {
    while (!newcomers_.empty() && !closed_) {
        const std::string after = newcomers_.front().after;
        const LiveBatch batch = co_await read(after);
        if (!batch.outcome.done()) {
            co_return;
        }
        std::vector<SharedText> texts;
        for (const LiveEvent& event : batch.events) {
            texts.push_back(std::make_shared<const std::string>(event_text(event)));
        }
        for (Newcomer& newcomer : newcomers_) {
            const auto stream = newcomer.stream.lock();
            if (newcomer.after != after) {
                continue;
            }
            for (std::size_t i = 0; stream && i < texts.size(); ++i) {
                deliver(*stream, batch.events[i], texts[i]);
            }
            const std::string reached = batch.events.empty() ? after : batch.events.back().position;
            if (stream) {
                stream->reached(reached);
            }
            newcomer.after = batch.more ? reached : "";
        }
        std::erase_if(newcomers_, [](const Newcomer& newcomer) { return newcomer.after.empty(); });
    }
}

asio::awaitable<void> LiveTenant::advance() {
    bool more = true;
    while (more && !closed_) {
        const LiveBatch batch = co_await read(position_);
        if (!batch.outcome.done()) {
            co_return;
        }
        const auto streams = admitted_streams();
        std::size_t told = 0;
        for (const LiveEvent& event : batch.events) {
            // A burst is no reason for a reset: who reads fast enough has his queue emptied between.
            if (++told % kAtOnce == 0) {
                co_await asio::post(executor_, asio::use_awaitable);
            }
            const auto text = std::make_shared<const std::string>(event_text(event));
            for (const auto& stream : streams) {
                deliver(*stream, event, text);
            }
            position_ = event.position;
        }
        for (const auto& stream : streams) {
            if (!batch.events.empty()) {
                stream->reached(position_);
            }
        }
        more = batch.more;
    }
}

}  // namespace sync_engine

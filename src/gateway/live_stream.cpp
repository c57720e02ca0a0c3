#include "gateway/live_stream.hpp"

#include <utility>

namespace sync_engine {

namespace asio = boost::asio;

LiveStream::LiveStream(const asio::any_io_executor& executor, LiveFilter filter, std::string token,
                       double ping_seconds)
    : filter_(std::move(filter)), token_(std::move(token)), ping_seconds_(ping_seconds), changed_(executor) {}

bool LiveStream::push(const LiveEvent& event, const SharedText& text) {
    if (over()) {
        return true;
    }
    position_ = event.position;
    const bool fits = queue_.size() < kMaxEvents && bytes_ + text->size() <= kMaxBytes;
    SharedText added = text;
    if (!fits) {
        queue_.clear();
        bytes_ = 0;
        added = std::make_shared<const std::string>(event_text(reset_event(event.position)));
    }
    bytes_ += added->size();
    queue_.push_back(std::move(added));
    changed_.notify();
    return fits;
}

void LiveStream::end(std::string_view reason) {
    if (!over()) {
        queue_.push_back(std::make_shared<const std::string>(end_text(reason)));
        ended_ = true;
        changed_.notify();
    }
}

void LiveStream::finish() {
    ended_ = true;
    changed_.notify();
}

std::string LiveStream::take() {
    std::string text;
    for (const SharedText& part : std::exchange(queue_, {})) {
        text += *part;
    }
    bytes_ = 0;
    return text;
}

asio::awaitable<std::string> LiveStream::next() {
    const SteadyTime ping_at = seconds_from_now(ping_seconds_);
    while (true) {
        if (closed_ || !queue_.empty()) {
            co_return take();
        }
        if (ended_) {
            co_return "";
        }
        if (std::chrono::steady_clock::now() >= ping_at) {
            co_return ping_text(position_);
        }
        co_await changed_.wait(ping_at);
    }
}

void LiveStream::closed() noexcept {
    closed_ = true;
    changed_.notify();
}

}  // namespace sync_engine

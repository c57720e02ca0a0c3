#include "executor/event_loop.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace sync_engine {

namespace {

// The longest sleep; curl shortens it to the next deadline of its own.
constexpr std::chrono::milliseconds kLongestWait{60'000};

}  // namespace

EventLoop::EventLoop() : multi_(curl_multi_init()) {
    if (!multi_) {
        throw std::runtime_error("libcurl cannot make a multi handle");
    }
}

void EventLoop::add(FdSource& source) {
    sources_.push_back(&source);
}

void EventLoop::remove(FdSource& source) {
    std::erase(sources_, &source);
    std::replace(waiting_sources_.begin(), waiting_sources_.end(), &source, static_cast<FdSource*>(nullptr));
}

EventLoop::TimerId EventLoop::at(Clock::time_point when, std::function<void()> callback) {
    const TimerId id{when, next_timer_++};
    timers_.emplace(id, std::move(callback));
    return id;
}

EventLoop::TimerId EventLoop::after(double seconds, std::function<void()> callback) {
    return at(Clock::now() + seconds_to_duration(seconds), std::move(callback));
}

void EventLoop::cancel(const TimerId& timer) {
    timers_.erase(timer);
}

void EventLoop::run() {
    stopped_ = false;
    while (!stopped_) {
        int running = 0;
        curl_multi_perform(multi_.get(), &running);
        collect_transfers();
        fire_timers();
        if (idle_ && !stopped_) {
            idle_();
        }
        if (!stopped_) {
            wait();
            dispatch_sources();
        }
    }
}

void EventLoop::wait() {
    waiting_.clear();
    waiting_sources_.clear();
    for (FdSource* source : sources_) {
        if (source->fd() < 0) {
            continue;
        }
        const short events = static_cast<short>((source->wants_read() ? CURL_WAIT_POLLIN : 0) |
                                                (source->wants_write() ? CURL_WAIT_POLLOUT : 0));
        waiting_.push_back({source->fd(), events, 0});
        waiting_sources_.push_back(source);
    }
    auto timeout = kLongestWait;
    if (!timers_.empty()) {
        // Rounded up: waking a fraction too early would spin until the timer is due.
        const auto left =
            std::chrono::ceil<std::chrono::milliseconds>(timers_.begin()->first.first - Clock::now());
        timeout = std::clamp(left, std::chrono::milliseconds(0), kLongestWait);
    }
    int ready = 0;
    const CURLMcode code =
        curl_multi_poll(multi_.get(), waiting_.data(), static_cast<unsigned>(waiting_.size()),
                        static_cast<int>(timeout.count()), &ready);
    if (code != CURLM_OK) {
        throw std::runtime_error(std::string("waiting for events failed: ") + curl_multi_strerror(code));
    }
}

void EventLoop::dispatch_sources() {
    for (std::size_t i = 0; i < waiting_.size(); ++i) {
        const bool readable = (waiting_[i].revents & CURL_WAIT_POLLIN) != 0;
        const bool writable = (waiting_[i].revents & CURL_WAIT_POLLOUT) != 0;
        // A callback may have removed a source that stands later in the list.
        if ((readable || writable) && waiting_sources_[i] != nullptr) {
            waiting_sources_[i]->on_ready(readable, writable);
        }
    }
}

void EventLoop::collect_transfers() {
    int left = 0;
    while (const CURLMsg* message = curl_multi_info_read(multi_.get(), &left)) {
        if (message->msg != CURLMSG_DONE) {
            continue;
        }
        CURL* const easy = message->easy_handle;
        const CURLcode result = message->data.result;
        curl_multi_remove_handle(multi_.get(), easy);
        if (transfer_done_) {
            transfer_done_(easy, result);
        }
    }
}

void EventLoop::fire_timers() {
    const auto now = Clock::now();
    while (!timers_.empty() && timers_.begin()->first.first <= now && !stopped_) {
        const auto callback = std::move(timers_.begin()->second);
        timers_.erase(timers_.begin());
        callback();
    }
}

void Timer::set_at(Clock::time_point when, std::function<void()> callback) {
    clear();
    id_ = loop_.at(when, [this, callback = std::move(callback)] {
        set_ = false;
        callback();
    });
    set_ = true;
}

void Timer::set_after(double seconds, std::function<void()> callback) {
    set_at(Clock::now() + seconds_to_duration(seconds), std::move(callback));
}

void Timer::clear() {
    if (set_) {
        loop_.cancel(id_);
        set_ = false;
    }
}

}  // namespace sync_engine

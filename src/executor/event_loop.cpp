#include "executor/event_loop.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>

#include <sys/epoll.h>

#include "executor/curl_handles.hpp"

namespace sync_engine {

namespace {

constexpr std::size_t kSocketsAtOnce = 256;

void set_multi_option(CURLM* multi, CURLMoption option, auto value) {
    if (curl_multi_setopt(multi, option, value) != CURLM_OK) {
        throw std::runtime_error("libcurl refuses an option of its multi handle");
    }
}

}  // namespace

EventLoop::EventLoop() : curl_sockets_(epoll_create1(EPOLL_CLOEXEC)), multi_(curl_multi_init()) {
    if (!multi_ || curl_sockets_.get() < 0) {
        throw std::runtime_error("libcurl or epoll cannot be set up");
    }
    set_multi_option(multi(), CURLMOPT_SOCKETFUNCTION, &EventLoop::watch_socket);
    set_multi_option(multi(), CURLMOPT_SOCKETDATA, static_cast<void*>(this));
    set_multi_option(multi(), CURLMOPT_TIMERFUNCTION, &EventLoop::set_curl_timer);
    set_multi_option(multi(), CURLMOPT_TIMERDATA, static_cast<void*>(this));
}

// `known` is not null when the socket is watched already.
int EventLoop::watch_socket(CURL*, curl_socket_t socket, int what, void* self, void* known) noexcept {
    auto* loop = static_cast<EventLoop*>(self);
    const int watched = loop->curl_sockets_.get();
    if (what == CURL_POLL_REMOVE) {
        epoll_ctl(watched, EPOLL_CTL_DEL, socket, nullptr);
        return 0;
    }
    epoll_event event{};
    event.events =
        ((what & CURL_POLL_IN) != 0 ? EPOLLIN : 0U) | ((what & CURL_POLL_OUT) != 0 ? EPOLLOUT : 0U);
    event.data.fd = socket;
    if (epoll_ctl(watched, known == nullptr ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, socket, &event) != 0) {
        return -1;
    }
    return curl_multi_assign(loop->multi(), socket, loop) == CURLM_OK ? 0 : -1;
}

int EventLoop::set_curl_timer(CURLM*, long milliseconds, void* self) noexcept {
    auto* loop = static_cast<EventLoop*>(self);
    loop->curl_due_ = milliseconds < 0
                          ? std::nullopt
                          : std::optional(Clock::now() + std::chrono::milliseconds(milliseconds));
    return 0;
}

void EventLoop::start_transfer(CURL* easy, CurlTransfer& transfer) {
    set_option(easy, CURLOPT_PRIVATE, static_cast<void*>(&transfer));
    if (curl_multi_add_handle(multi(), easy) != CURLM_OK) {
        throw std::runtime_error("the request cannot be started");
    }
}

void EventLoop::abort_transfer(CURL* easy) noexcept {
    curl_multi_remove_handle(multi(), easy);
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
        serve_curl();
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

std::optional<Clock::time_point> EventLoop::next_deadline() const {
    if (timers_.empty()) {
        return curl_due_;
    }
    const Clock::time_point timer = timers_.begin()->first.first;
    return curl_due_ ? std::min(*curl_due_, timer) : timer;
}

void EventLoop::wait() {
    waiting_.clear();
    waiting_sources_.clear();
    for (FdSource* source : sources_) {
        if (source->fd() < 0) {
            continue;
        }
        const auto events =
            static_cast<short>((source->wants_read() ? POLLIN : 0) | (source->wants_write() ? POLLOUT : 0));
        waiting_.push_back({source->fd(), events, 0});
        waiting_sources_.push_back(source);
    }
    waiting_.push_back({curl_sockets_.get(), POLLIN, 0});
    std::timespec left{};
    const auto deadline = next_deadline();
    if (deadline) {
        const auto rest = std::max(Clock::duration(0), *deadline - Clock::now());
        const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(rest);
        left.tv_sec = seconds.count();
        left.tv_nsec = std::chrono::duration_cast<std::chrono::nanoseconds>(rest - seconds).count();
    }
    if (ppoll(waiting_.data(), waiting_.size(), deadline ? &left : nullptr, nullptr) < 0) {
        if (errno != EINTR) {
            throw std::runtime_error(std::string("waiting for events failed: ") + std::strerror(errno));
        }
        for (pollfd& entry : waiting_) {
            entry.revents = 0;
        }
    }
    curl_ready_ = waiting_.back().revents != 0;
}

// Hang-ups and errors count as both: reading or writing tells what is the matter.
void EventLoop::dispatch_sources() {
    constexpr short trouble = POLLERR | POLLHUP | POLLNVAL;
    for (std::size_t i = 0; i < waiting_sources_.size(); ++i) {
        const short events = waiting_[i].revents;
        const bool readable = (events & (POLLIN | trouble)) != 0;
        const bool writable = (events & (POLLOUT | trouble)) != 0;
        // A callback may have removed a source that stands later in the list.
        if ((readable || writable) && waiting_sources_[i] != nullptr) {
            waiting_sources_[i]->on_ready(readable, writable);
        }
    }
}

void EventLoop::serve_curl() {
    int running = 0;
    if (curl_ready_) {
        std::array<epoll_event, kSocketsAtOnce> events;
        const int count = epoll_wait(curl_sockets_.get(), events.data(), kSocketsAtOnce, 0);
        for (int i = 0; i < count; ++i) {
            const epoll_event& event = events.at(static_cast<std::size_t>(i));
            const int what = ((event.events & EPOLLIN) != 0 ? CURL_CSELECT_IN : 0) |
                             ((event.events & EPOLLOUT) != 0 ? CURL_CSELECT_OUT : 0) |
                             ((event.events & (EPOLLERR | EPOLLHUP)) != 0 ? CURL_CSELECT_ERR : 0);
            curl_multi_socket_action(multi(), event.data.fd, what, &running);
        }
    }
    if (curl_due_ && *curl_due_ <= Clock::now()) {
        curl_due_.reset();
        curl_multi_socket_action(multi(), CURL_SOCKET_TIMEOUT, 0, &running);
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
        char* pointer = nullptr;
        curl_easy_getinfo(easy, CURLINFO_PRIVATE, &pointer);
        auto* const transfer = reinterpret_cast<CurlTransfer*>(pointer);
        if (!transfer->stays(result)) {
            curl_multi_remove_handle(multi_.get(), easy);
        }
        transfer->ended(result);
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

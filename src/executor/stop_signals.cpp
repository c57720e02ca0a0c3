#include "executor/stop_signals.hpp"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <system_error>
#include <utility>

#include <sys/eventfd.h>
#include <unistd.h>

namespace sync_engine {

namespace {

std::atomic<int> wake_fd{-1};
std::atomic<int> signals_seen{0};
static_assert(std::atomic<int>::is_always_lock_free, "used in a signal handler");

extern "C" void handle_stop_signal(int number) noexcept {
    if (signals_seen.fetch_add(1) > 0) {
        _exit(128 + number);
    }
    const int saved = errno;
    const std::uint64_t one = 1;
    // A full counter means that the loop is to wake anyway.
    [[maybe_unused]] const ssize_t written = write(wake_fd.load(), &one, sizeof(one));
    errno = saved;
}

void set_handler(int number, void (*handler)(int)) {
    struct sigaction action {};
    action.sa_handler = handler;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    if (sigaction(number, &action, nullptr) != 0) {
        throw std::system_error(errno, std::generic_category(), "sigaction");
    }
}

}  // namespace

StopSignals::StopSignals(EventLoop& loop, std::function<void()> on_stop)
    : loop_(loop), on_stop_(std::move(on_stop)), fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (fd_ < 0) {
        throw std::system_error(errno, std::generic_category(), "eventfd");
    }
    signals_seen = 0;
    wake_fd = fd_;
    set_handler(SIGPIPE, SIG_IGN);
    set_handler(SIGTERM, handle_stop_signal);
    set_handler(SIGINT, handle_stop_signal);
    loop_.add(*this);
}

StopSignals::~StopSignals() {
    loop_.remove(*this);
    std::signal(SIGTERM, SIG_DFL);
    std::signal(SIGINT, SIG_DFL);
    wake_fd = -1;
    close(fd_);
}

void StopSignals::on_ready(bool, bool) {
    std::uint64_t count = 0;
    if (read(fd_, &count, sizeof(count)) == static_cast<ssize_t>(sizeof(count))) {
        on_stop_();
    }
}

}  // namespace sync_engine

#include "gateway/fd_watch.hpp"

#include <utility>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace sync_engine {

namespace asio = boost::asio;

struct FdWatch::State {
    explicit State(const asio::any_io_executor& executor) : descriptor(executor), event(executor) {}

    // A wait that is under way stays so when the other direction or a wake came first: it is not begun twice.
    struct Direction {
        bool waiting = false;
        bool ready = false;
    };

    asio::posix::stream_descriptor descriptor;
    asio::steady_timer event;
    Direction read;
    Direction write;
    bool woken = false;
    unsigned generation = 0;  // of the descriptor; what is told about an earlier one does not count

    static void begin(const std::shared_ptr<State>& state, Direction State::*which,
                      asio::posix::stream_descriptor::wait_type type) {
        Direction& direction = (*state).*which;
        if (direction.waiting || direction.ready || !state->descriptor.is_open()) {
            return;
        }
        direction.waiting = true;
        state->descriptor.async_wait(
            type, [state, which, generation = state->generation](const boost::system::error_code&) {
                if (generation == state->generation) {
                    // An error is for who reads or writes to find.
                    (*state).*which = {false, true};
                    state->event.cancel();
                }
            });
    }
};

SteadyTime seconds_from_now(double seconds) {
    return std::chrono::steady_clock::now() + std::chrono::duration_cast<std::chrono::steady_clock::duration>(
                                                  std::chrono::duration<double>(seconds));
}

FdWatch::FdWatch(const asio::any_io_executor& executor) : state_(std::make_shared<State>(executor)) {}

FdWatch::~FdWatch() {
    release();
}

void FdWatch::assign(int fd) {
    release();
    state_->descriptor.assign(fd);
}

void FdWatch::release() noexcept {
    if (state_->descriptor.is_open()) {
        state_->descriptor.release();
    }
    ++state_->generation;
    state_->read = {};
    state_->write = {};
}

asio::awaitable<bool> FdWatch::wait(bool read, bool write, SteadyTime until) {
    const auto state = state_;
    if (read) {
        State::begin(state, &State::read, asio::posix::stream_descriptor::wait_read);
    }
    if (write) {
        State::begin(state, &State::write, asio::posix::stream_descriptor::wait_write);
    }
    const auto ready = [&] { return (read && state->read.ready) || (write && state->write.ready); };
    if (!ready() && !state->woken) {
        state->event.expires_at(until);
        co_await state->event.async_wait(asio::as_tuple(asio::use_awaitable));
    }
    const bool is_ready = ready();
    state->woken = false;
    state->read.ready = false;
    state->write.ready = false;
    co_return is_ready;
}

void FdWatch::wake() noexcept {
    state_->woken = true;
    try {
        state_->event.cancel();
    } catch (...) {  // declared, not known to happen: who waits looks when its time comes
    }
}

}  // namespace sync_engine

#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <curl/curl.h>
#include <poll.h>
#include <unistd.h>

namespace sync_engine {

using Clock = std::chrono::steady_clock;

constexpr Clock::duration seconds_to_duration(double seconds) {
    return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

struct CurlMultiDeleter {
    void operator()(CURLM* multi) const noexcept { curl_multi_cleanup(multi); }
};

// Closes what it owns.
class OwnedFd {
  public:
    explicit OwnedFd(int fd) noexcept : fd_(fd) {}
    OwnedFd(const OwnedFd&) = delete;
    OwnedFd& operator=(const OwnedFd&) = delete;
    ~OwnedFd() {
        if (fd_ >= 0) {
            close(fd_);
        }
    }
    int get() const noexcept { return fd_; }

  private:
    int fd_;
};

// A file descriptor the loop waits for. Asked anew before each wait, so that both may change at any time.
class FdSource {
  public:
    virtual ~FdSource() = default;
    virtual int fd() const noexcept = 0;  // -1: nothing to wait for
    virtual bool wants_read() const noexcept = 0;
    virtual bool wants_write() const noexcept = 0;
    virtual void on_ready(bool readable, bool writable) = 0;
};

// What CURLOPT_PRIVATE of a handle points to while it is in the loop's multi.
class CurlTransfer {
  public:
    virtual ~CurlTransfer() = default;
    // Called from the event loop once curl reports the transfer as done; the handle has left the multi by
    // then, unless it stays. May destroy the transfer.
    virtual void ended(CURLcode code) = 0;
    // Whether the handle is left in the multi, which keeps open the connection that CURLOPT_CONNECT_ONLY
    // made; abort_transfer closes it.
    virtual bool stays(CURLcode) const noexcept { return false; }
};

// One thread that waits for curl's transfers, other descriptors and timers. curl says which sockets and when
// it wants to hear of, so that what has nothing to tell costs nothing, however many there are. Callbacks run
// on the thread in run().
class EventLoop {
  public:
    using TimerId = std::pair<Clock::time_point, unsigned long>;

    // Throws std::runtime_error when curl cannot be set up.
    EventLoop();
    EventLoop(const EventLoop&) = delete;
    EventLoop& operator=(const EventLoop&) = delete;

    // Starts the transfer that `easy` is configured for; both are borrowed until it has ended or was removed.
    // Throws std::runtime_error when curl refuses.
    void start_transfer(CURL* easy, CurlTransfer& transfer);
    // Aborts one that was started and has not ended.
    void abort_transfer(CURL* easy) noexcept;

    // Called before each wait, when nothing more is to be done at once.
    void on_idle(std::function<void()> callback) { idle_ = std::move(callback); }

    // `source` is borrowed and must be removed before it dies.
    void add(FdSource& source);
    void remove(FdSource& source);

    TimerId at(Clock::time_point when, std::function<void()> callback);
    TimerId after(double seconds, std::function<void()> callback);

    // Of a timer that has fired or was cancelled: no effect.
    void cancel(const TimerId& timer);

    // Until stop(). Exceptions from callbacks pass through.
    void run();
    void stop() noexcept { stopped_ = true; }

  private:
    CURLM* multi() const noexcept { return multi_.get(); }
    void wait();
    void dispatch_sources();
    void serve_curl();
    std::optional<Clock::time_point> next_deadline() const;
    static int watch_socket(CURL* easy, curl_socket_t socket, int what, void* self, void* known) noexcept;
    static int set_curl_timer(CURLM* multi, long milliseconds, void* self) noexcept;
    void collect_transfers();
    void fire_timers();

    OwnedFd curl_sockets_;  // an epoll; outlives the multi, which leaves it as it ends
    bool curl_ready_ = false;
    std::optional<Clock::time_point> curl_due_;
    std::unique_ptr<CURLM, CurlMultiDeleter> multi_;
    std::function<void()> idle_;
    std::vector<FdSource*> sources_;
    std::vector<pollfd> waiting_;  // the sources, then curl_sockets_
    std::vector<FdSource*> waiting_sources_;
    std::map<TimerId, std::function<void()>> timers_;
    unsigned long next_timer_ = 1;
    bool stopped_ = false;
};

// A timer that is cancelled with its owner; setting it anew replaces the earlier setting.
class Timer {
  public:
    explicit Timer(EventLoop& loop) : loop_(loop) {}
    Timer(const Timer&) = delete;
    Timer& operator=(const Timer&) = delete;
    ~Timer() { clear(); }

    void set_at(Clock::time_point when, std::function<void()> callback);
    void set_after(double seconds, std::function<void()> callback);
    void clear();
    bool pending() const noexcept { return set_; }

  private:
    EventLoop& loop_;
    EventLoop::TimerId id_{};
    bool set_ = false;
};

}  // namespace sync_engine

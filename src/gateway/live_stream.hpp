#pragma once

#include <cstddef>
#include <deque>
#include <memory>
#include <string>

#include <boost/asio/any_io_executor.hpp>

#include "gateway/event_source.hpp"
#include "gateway/live_events.hpp"
#include "gateway/pg_lease.hpp"

namespace sync_engine {

using SharedText = std::shared_ptr<const std::string>;

// One client's stream. What it has not been sent is bounded: a client that reads too slowly is told to read
// all anew instead.
class LiveStream final : public EventSource {
  public:
    static constexpr std::size_t kMaxEvents = 256;
    static constexpr std::size_t kMaxBytes = 1024 * 1024;

    LiveStream(const boost::asio::any_io_executor& executor, LiveFilter filter, std::string token,
               double ping_seconds);

    // `text`: of the event, which others share. False: there was too much, and a reset took its place.
    bool push(const LiveEvent& event, const SharedText& text);
    // All is told up to there.
    void reached(std::string position) { position_ = std::move(position); }
    // The stream ends when the client has been told why: it is not to come back.
    void end(std::string_view reason);
    // It ends with what has been pushed.
    void finish();

    bool over() const noexcept { return closed_ || ended_; }
    const LiveFilter& filter() const noexcept { return filter_; }
    // By which it was opened. It is a secret.
    const std::string& token() const noexcept { return token_; }

    boost::asio::awaitable<std::string> next() override;
    void closed() noexcept override;

  private:
    std::string take();

    LiveFilter filter_;
    std::string token_;
    double ping_seconds_;
    Signal changed_;
    std::deque<SharedText> queue_;
    std::size_t bytes_ = 0;
    std::string position_;
    bool ended_ = false;
    bool closed_ = false;
};

}  // namespace sync_engine

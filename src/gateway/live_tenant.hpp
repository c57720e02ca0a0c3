#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include "gateway/live_reader.hpp"
#include "gateway/live_stream.hpp"
#include "gateway/pg_pool.hpp"
#include "gateway/service_metrics.hpp"
#include "process/log.hpp"

namespace sync_engine {

struct LiveTimes {
    double fallback_seconds = 5;  // between looks when nothing is notified
    double check_seconds = 50;    // a token is looked at again at the latest after this
    double ping_seconds = 15;
};

// What the streams of one tenant share: the changes are read once for all of them.
class LiveTenant {
  public:
    // All references are borrowed. `position`: what changes after it is told.
    LiveTenant(const boost::asio::any_io_executor& executor, PgPool& pool, Logger& log,
               ServiceMetrics& metrics, const LiveTimes& times, std::string position);

    // From now on the stream is told what changes; first, where `after` is not empty, what has changed since
    // that position.
    void add(const std::shared_ptr<LiveStream>& stream, std::string after);

    // Streams that are open, of that token.
    std::size_t streams_of(std::string_view token) const;
    std::size_t streams() const;

    // Something may have changed.
    void wake();
    // Ends all streams, whose clients may go elsewhere, and follow().
    void close();

    // Reads on until there is no stream left or close().
    boost::asio::awaitable<void> follow();

  private:
    struct Newcomer {
        std::weak_ptr<LiveStream> stream;
        std::string after;
    };

    boost::asio::awaitable<void> look();
    boost::asio::awaitable<void> check_tokens();
    boost::asio::awaitable<void> admit();
    boost::asio::awaitable<void> advance();
    boost::asio::awaitable<LiveBatch> read(std::string after);
    void note_failure(const std::string& token, const PgOutcome& outcome);
    void forget_gone();
    // The one that was looked at longest ago; empty when there is none.
    std::string next_token() const;
    void deliver(LiveStream& stream, const LiveEvent& event, const SharedText& text);
    std::vector<std::shared_ptr<LiveStream>> open_streams() const;
    std::vector<std::shared_ptr<LiveStream>> admitted_streams() const;

    boost::asio::any_io_executor executor_;
    PgPool& pool_;
    Logger& log_;
    ServiceMetrics& metrics_;
    const LiveTimes& times_;
    std::string position_;
    SteadyTime watched_at_;
    std::vector<std::weak_ptr<LiveStream>> streams_;
    std::vector<Newcomer> newcomers_;
    std::map<std::string, SteadyTime, std::less<>> tokens_;  // when each was looked at last
    Signal changed_;
    bool woken_ = false;
    bool closed_ = false;
};

}  // namespace sync_engine

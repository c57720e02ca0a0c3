#pragma once

#include <cstddef>
#include <memory>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include "gateway/handler.hpp"
#include "gateway/live_tenant.hpp"
#include "gateway/pg_pool.hpp"
#include "gateway/service_metrics.hpp"
#include "process/log.hpp"

namespace sync_engine {

struct LiveOptions {
    LiveTimes times;
    std::size_t streams_per_token = 20;
};

// GET /api/v2/events: a stream of what changes for a token's tenant (text/event-stream), as
//   id: POSITION
//   event: job|connection|schedule|notification   with the present state of the object as `data`
//   event: reset                                  all may have changed: read it anew
//   event: end                                    the token is no good any more: the last one
// A client that comes back with Last-Event-ID (or ?last_event_id=) is told what has changed since, or to read
// all anew. ?kinds=job,schedule and ?connection_id= choose. However many streams there are, each tenant is
// read once: when the database notifies that something of it has changed, and now and then all the same.
class LiveHub final : public Handler {
  public:
    // All references are borrowed, and outlive what is started on the executor.
    LiveHub(const boost::asio::any_io_executor& executor, PgPool& pool, Logger& log, ServiceMetrics& metrics,
            const LiveOptions& options = {});
    // As close().
    ~LiveHub() override;

    boost::asio::awaitable<HttpReply> handle(HttpRequest request) override;

    // Ends all streams; those that are opened later end at once.
    void close();

    std::size_t streams() const;
    std::size_t tenants() const;

  private:
    class Impl;
    std::shared_ptr<Impl> impl_;
};

}  // namespace sync_engine

#pragma once

#include <string>
#include <vector>

#include <boost/asio/awaitable.hpp>

#include "gateway/live_events.hpp"
#include "gateway/pg_pool.hpp"

namespace sync_engine {

// How long the database notes a tenant's changes when it is asked to; asked anew at half time.
inline constexpr int kWatchSeconds = 60;

struct LiveBatch {
    PgOutcome outcome;              // of the last round trip; nothing else counts unless done
    std::vector<LiveEvent> events;  // oldest first; empty: nothing has changed
    bool more = false;              // there may be more already
};

// What has changed for the token's tenant since `after`, with what is so now: first which objects, then,
// where there are any, how they are, in one round trip each. `watch`: the database is asked to go on noting
// changes.
boost::asio::awaitable<LiveBatch> read_live(PgPool& pool, std::string token, std::string after, bool watch);

// Opens the tenant of a token for a stream.
struct LiveOpening {
    PgOutcome outcome;
    std::string tenant_id;
    std::string slot;      // the tenant's name in notifications
    std::string position;  // what changes from now on comes after it
};
boost::asio::awaitable<LiveOpening> open_live(PgPool& pool, std::string token, std::string request_id);

// Whether the token is still good for reading.
boost::asio::awaitable<PgOutcome> check_live(PgPool& pool, std::string token);

}  // namespace sync_engine

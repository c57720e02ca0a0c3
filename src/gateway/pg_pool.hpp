#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include "gateway/pg_connection.hpp"
#include "gateway/pg_statement.hpp"
#include "process/log.hpp"

namespace sync_engine {

struct PgPoolOptions {
    PgSettings connection;
    std::size_t size = 10;           // connections at most; of one client half of them, at least one
    double wait_seconds = 2;         // for a connection to become free, then overloaded
    std::size_t max_waiting = 1000;  // who would be one more is overloaded at once; of one client half
};

// What the pool tells as it happens, for metrics.
class PgPoolObserver {
  public:
    PgPoolObserver() = default;
    PgPoolObserver(const PgPoolObserver&) = delete;
    PgPoolObserver& operator=(const PgPoolObserver&) = delete;
    virtual ~PgPoolObserver();

    virtual void connected() {}
    // A connection broke or could not be made.
    virtual void lost() {}
    // For a connection to become free.
    virtual void waited(double /*seconds*/) {}
    // A pipeline, from sending it to its answer.
    virtual void ran(double /*seconds*/) {}
    virtual void overloaded() {}
};

struct PgPoolFigures {
    std::size_t connected = 0;
    std::size_t busy = 0;
    std::size_t waiting = 0;  // requests for a connection
};

// Connections to the database that are shared by whoever has something to ask: opened as they are needed, up
// to `size`, kept, and made anew with growing pauses when they break. Clients are told apart by a key, and
// have at most half of the connections each, so that one whose requests are slow leaves some to others; who
// waits is served in the order of coming among the same key's, keys in turn. The empty key is nobody's, and
// may have all. A coroutine that is cancelled while it waits loses its place, or the answer: its pipeline is
// read to the end all the same. Everything on the one thread of the executor; must outlive no io_context.
class PgPool {
  public:
    // `log` and `observer` are borrowed. Connects once right away.
    PgPool(const boost::asio::any_io_executor& executor, Logger& log, PgPoolOptions options,
           PgPoolObserver* observer = nullptr);
    PgPool(const PgPool&) = delete;
    PgPool& operator=(const PgPool&) = delete;
    // As close().
    ~PgPool();

    // One pipeline, one Sync: one implicit transaction, in which settings made by set_config(..., true) last.
    // Statements are prepared once a connection, by their text. No BEGIN or COMMIT among them.
    boost::asio::awaitable<PgOutcome> run(std::vector<PgStatement> pipeline, std::string key = "");

    class Lease;
    // A connection for a transaction of several round trips; nothing when none became free in time.
    boost::asio::awaitable<std::optional<Lease>> begin(std::string key = "");

    PgPoolFigures figures() const;
    const PgSettings& settings() const;

    // Closes all connections; what is under way or waits ends as lost.
    void close();

  private:
    class Impl;
    std::shared_ptr<Impl> impl_;
};

// Holds one connection. What was not committed when it goes is rolled back.
class PgPool::Lease {
  public:
    struct Link;  // between the holder and who serves the connection

    explicit Lease(std::shared_ptr<Link> link);
    Lease(Lease&&) noexcept;
    Lease& operator=(Lease&&) noexcept;
    ~Lease();

    // One pipeline of the transaction, the first of which begins it. After one that failed there is nothing
    // but to drop the lease.
    boost::asio::awaitable<PgOutcome> run(std::vector<PgStatement> pipeline);

    // `last` and COMMIT in one pipeline; the connection is free then, whatever became of it.
    boost::asio::awaitable<PgOutcome> commit(std::vector<PgStatement> last = {});

  private:
    std::shared_ptr<Link> link_;
};

}  // namespace sync_engine

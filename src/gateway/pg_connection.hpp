#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include "gateway/fd_watch.hpp"
#include "gateway/pg_statement.hpp"
#include "gateway/statement_cache.hpp"
#include "process/log.hpp"
#include "process/pg_handles.hpp"

namespace sync_engine {

// Why a server that answers is of no use. They may be told to anybody.
inline constexpr std::string_view kServerIsStandby = "the server is a standby";
inline constexpr std::string_view kServerIsReadOnly =
    "the server takes no changes: default_transaction_read_only is on";

struct PgSettings {
    std::string url;
    std::string application_name = "sync-gateway";
    double connect_seconds = 15;
    double statement_seconds = 10;            // statement_timeout
    double idle_in_transaction_seconds = 10;  // idle_in_transaction_session_timeout
    double answer_seconds = 25;  // a pipeline that is not answered in this time: the connection is given up
};

// One connection to the database, in libpq's pipeline mode. For one coroutine at a time, which must not be
// cancelled: a pipeline is always read up to its Sync, whoever still waits for it. It does not reconnect by
// itself. Host names are resolved by libpq, which blocks for as long as the resolver takes. Statements are
// prepared for the session and settings are made for it: a proxy that pools by transaction cannot stand
// between. Every request writes: a session with a server that takes no changes, as one is after a failover
// that the name of the host has not followed yet, is none.
class PgSession {
  public:
    PgSession(const boost::asio::any_io_executor& executor, Logger& log, const PgSettings& settings);
    PgSession(const PgSession&) = delete;
    PgSession& operator=(const PgSession&) = delete;
    ~PgSession();

    // False: last_error() says why not.
    boost::asio::awaitable<bool> connect();
    void close() noexcept;
    // As close(), and ends what is under way.
    void abort() noexcept;
    bool connected() const noexcept { return connected_; }
    const std::string& last_error() const noexcept { return last_error_; }

    // Whether the connection is still there and takes changes, as far as what has arrived tells; closes it
    // where it does not.
    bool look();

    // One pipeline. `may_repeat`: where a prepared statement turns out to be of no use any more, all of it is
    // tried once again; not for a pipeline in the middle of a transaction.
    boost::asio::awaitable<PgOutcome> run(const std::vector<PgStatement>& pipeline, bool may_repeat);

    // Ends a transaction that is open, so that the next who comes finds none; closes where that cannot be.
    boost::asio::awaitable<void> tidy();

    // LISTEN. The connection is for idle() and take_notifications() alone from then on.
    boost::asio::awaitable<bool> listen(std::string_view channel);
    std::vector<std::string> take_notifications();

    // Until wake(), something has arrived, or the time has come.
    boost::asio::awaitable<void> idle(SteadyTime until);
    void wake() noexcept { watch_.wake(); }

  private:
    class Reader;

    boost::asio::awaitable<bool> dial();
    boost::asio::awaitable<bool> set_up();
    boost::asio::awaitable<PgOutcome> exchange(const std::vector<PgStatement>& pipeline);
    bool send(const StatementCache::Plan& plan, const std::vector<PgStatement>& pipeline);
    // Whether the answer is there in full.
    bool read_available(Reader& reader);
    PgOutcome lose(std::string reason);
    PgOutcome no_answer();
    // Why the server is of no use, as far as it has said; empty as a rule.
    std::string_view unfit() const noexcept;
    bool broken() const noexcept { return PQstatus(connection_.get()) == CONNECTION_BAD; }
    std::string error() const;
    static void notice(void* self, const PGresult* result) noexcept;

    Logger& log_;
    const PgSettings& settings_;
    FdWatch watch_;
    PgConnection connection_;
    bool connected_ = false;
    StatementCache statements_{200};
    std::string last_error_;
};

}  // namespace sync_engine

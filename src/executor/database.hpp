#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "executor/event_loop.hpp"
#include "executor/metrics.hpp"
#include "process/log.hpp"
#include "process/pg_handles.hpp"
#include "process/retry_delay.hpp"

namespace sync_engine {

struct Statement {
    std::string sql;
    std::vector<std::optional<std::string>> params;  // text format; nothing is NULL
    // Where this statement's one boolean is not true, the script is rolled back and ends as `refused`.
    bool must_be_true = false;
};

struct ScriptOutcome {
    enum class Status {
        done,
        failed,   // the server answered with an error; nothing of the script is in effect
        refused,  // a must_be_true statement was not; nothing of the script is in effect
        lost,     // the connection broke: whether the script took effect is not known
    };
    Status status = Status::done;
    std::vector<PgResult> results;  // of each statement, when done
    std::string sqlstate;           // when failed
    std::string message;            // when failed or lost; may quote data, pass it through the redactor

    bool done() const noexcept { return status == Status::done; }
    bool lost() const noexcept { return status == Status::lost; }
    const PGresult* result(std::size_t i = 0) const { return results.at(i).get(); }
};

// A libpq connection driven by the event loop: connects, reconnects with growing pauses, and runs one script
// of statements at a time. Unnamed statements only and no session state, so that it works through a
// transaction-pooling proxy. Host names are resolved by libpq, which blocks for as long as the resolver
// takes.
class Database : public FdSource {
  public:
    using Done = std::function<void(ScriptOutcome&&)>;

    // `role` names the connection in logs and, after the executor's name, in pg_stat_activity.
    Database(EventLoop& loop, Logger& log, Metrics& metrics, std::string url, std::string application_name,
             std::string role);
    ~Database() override;
    Database(const Database&) = delete;
    Database& operator=(const Database&) = delete;

    // Called whenever the connection is up and has nothing to do.
    void on_idle(std::function<void()> callback) { idle_callback_ = std::move(callback); }
    // Called after each successful connect, before on_idle.
    void on_connected(std::function<void()> callback) { connected_callback_ = std::move(callback); }
    // Called with the socket of each connection that was made.
    void on_peer(std::function<void(int)> callback) { peer_callback_ = std::move(callback); }

    void open();
    // Drops the connection; a script in flight ends as lost. Stays closed until open().
    void close();
    // Drops the connection and connects anew.
    void reconnect(std::string_view reason);

    bool idle() const noexcept { return state_ == State::idle; }
    bool connected() const noexcept { return state_ == State::idle || state_ == State::busy; }
    const std::string& last_error() const noexcept { return last_error_; }

    // Only while idle(). More than one statement means that the caller begins and commits a transaction.
    void run(std::vector<Statement> script, Done done);
    void run(std::string sql, std::vector<std::optional<std::string>> params, Done done);

    int fd() const noexcept override;
    bool wants_read() const noexcept override;
    bool wants_write() const noexcept override;
    void on_ready(bool readable, bool writable) override;

  private:
    enum class State { closed, waiting, connecting, idle, busy };

    void start_connect();
    void continue_connect();
    void lose(const std::string& reason);
    void send_next();
    void flush();
    void read_results();
    void statement_ended();
    void roll_back(ScriptOutcome outcome);
    void finish(ScriptOutcome outcome);
    bool broken() const noexcept { return PQstatus(connection_.get()) == CONNECTION_BAD; }
    static void notice(void* self, const PGresult* result) noexcept;

    EventLoop& loop_;
    Logger& log_;
    Metrics& metrics_;
    std::string url_;
    std::string application_name_;
    std::string role_;
    std::function<void()> idle_callback_;
    std::function<void()> connected_callback_;
    std::function<void(int)> peer_callback_;

    PgConnection connection_;
    State state_ = State::closed;
    PostgresPollingStatusType connect_wants_ = PGRES_POLLING_WRITING;
    bool flush_pending_ = false;
    Timer timer_;
    RetryDelay delay_{0.1, 5};
    std::string last_error_;

    std::vector<Statement> script_;
    std::size_t next_statement_ = 0;
    PgResult current_;
    std::optional<ScriptOutcome> rolled_back_;  // what to report once ROLLBACK was answered
    std::vector<PgResult> results_;
    Done done_;
};

}  // namespace sync_engine

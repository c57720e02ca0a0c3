#include "executor/database.hpp"

#include <array>
#include <cstring>
#include <utility>

namespace sync_engine {

namespace {

constexpr double kConnectTimeoutSeconds = 15;

std::string trimmed_message(const char* message) {
    std::string text = message == nullptr ? "" : message;
    while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) {
        text.pop_back();
    }
    return text.empty() ? "connection lost" : text;
}

std::string field(const PGresult* result, int code) {
    const char* text = PQresultErrorField(result, code);
    return text == nullptr ? "" : text;
}

bool succeeded(const PGresult* result) {
    const ExecStatusType status = PQresultStatus(result);
    return status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK;
}

}  // namespace

Database::Database(EventLoop& loop, Logger& log, Metrics& metrics, std::string url,
                   std::string application_name, std::string role)
    : loop_(loop),
      log_(log),
      metrics_(metrics),
      url_(std::move(url)),
      application_name_(std::move(application_name)),
      role_(std::move(role)),
      timer_(loop) {
    loop_.add(*this);
}

Database::~Database() {
    loop_.remove(*this);
}

void Database::open() {
    if (state_ == State::closed) {
        start_connect();
    }
}

void Database::close() {
    timer_.clear();
    const bool was_busy = state_ == State::busy;
    state_ = State::closed;
    connection_.reset();
    if (was_busy) {
        finish({ScriptOutcome::Status::lost, {}, {}, "closed"});
    }
}

void Database::reconnect(std::string_view reason) {
    if (state_ != State::closed) {
        lose(std::string(reason));
    }
}

void Database::start_connect() {
    // Those before dbname are defaults that the URL may override; those after it are not for the user to
    // choose.
    const std::array<const char*, 9> keywords{"keepalives_idle",           "keepalives_interval",
                                              "keepalives_count",          "tcp_user_timeout",
                                              "fallback_application_name", "dbname",
                                              "client_encoding",           nullptr};
    const std::array<const char*, 9> values{"10",         "5",    "3",    "20000", application_name_.c_str(),
                                            url_.c_str(), "UTF8", nullptr};
    connection_.reset(PQconnectStartParams(keywords.data(), values.data(), 1));
    state_ = State::connecting;
    connect_wants_ = PGRES_POLLING_WRITING;
    if (!connection_ || broken()) {
        lose(trimmed_message(connection_ ? PQerrorMessage(connection_.get()) : "out of memory"));
        return;
    }
    PQsetNoticeReceiver(connection_.get(), &Database::notice, this);
    timer_.set_after(kConnectTimeoutSeconds, [this] { lose("no answer while connecting"); });
}

void Database::continue_connect() {
    connect_wants_ = PQconnectPoll(connection_.get());
    if (connect_wants_ == PGRES_POLLING_FAILED) {
        lose(trimmed_message(PQerrorMessage(connection_.get())));
        return;
    }
    if (connect_wants_ != PGRES_POLLING_OK) {
        return;
    }
    timer_.clear();
    if (PQsetnonblocking(connection_.get(), 1) != 0) {
        lose("the connection cannot be made non-blocking");
        return;
    }
    state_ = State::idle;
    delay_.reset();
    metrics_.database_connected(role_);
    if (peer_callback_) {
        peer_callback_(fd());
    }
    log_.info("connected to the database", {{"connection", role_}});
    if (connected_callback_) {
        connected_callback_();
    }
    if (idle() && idle_callback_) {
        idle_callback_();
    }
}

void Database::lose(const std::string& reason) {
    const bool was_busy = state_ == State::busy;
    last_error_ = reason;
    metrics_.database_lost(role_);
    connection_.reset();
    state_ = State::waiting;
    const double pause = delay_.next();
    log_.warn("no connection to the database",
              {{"connection", role_}, {"error", reason}, {"retry_in_seconds", pause}});
    timer_.set_after(pause, [this] { start_connect(); });
    if (was_busy) {
        finish({ScriptOutcome::Status::lost, {}, {}, reason});
    }
}

void Database::run(std::string sql, std::vector<std::optional<std::string>> params, Done done) {
    std::vector<Statement> script;
    script.push_back({std::move(sql), std::move(params)});
    run(std::move(script), std::move(done));
}

void Database::run(std::vector<Statement> script, Done done) {
    script_ = std::move(script);
    done_ = std::move(done);
    next_statement_ = 0;
    results_.clear();
    rolled_back_.reset();
    state_ = State::busy;
    send_next();
}

void Database::send_next() {
    const Statement rollback{"ROLLBACK", {}};
    const Statement& statement = rolled_back_ ? rollback : script_[next_statement_];
    std::vector<const char*> values;
    values.reserve(statement.params.size());
    for (const auto& param : statement.params) {
        values.push_back(param ? param->c_str() : nullptr);
    }
    current_.reset();
    if (PQsendQueryParams(connection_.get(), statement.sql.c_str(), static_cast<int>(values.size()), nullptr,
                          values.data(), nullptr, nullptr, 0) == 0) {
        lose(trimmed_message(PQerrorMessage(connection_.get())));
        return;
    }
    flush();
}

void Database::flush() {
    const int left = PQflush(connection_.get());
    flush_pending_ = left == 1;
    if (left < 0) {
        // What the server said before it closed explains more than the failed write.
        PQconsumeInput(connection_.get());
        lose(trimmed_message(PQerrorMessage(connection_.get())));
    }
}

int Database::fd() const noexcept {
    return connection_ ? PQsocket(connection_.get()) : -1;
}

bool Database::wants_read() const noexcept {
    return connected() || connect_wants_ == PGRES_POLLING_READING;
}

bool Database::wants_write() const noexcept {
    return connected() ? flush_pending_ : connect_wants_ == PGRES_POLLING_WRITING;
}

void Database::on_ready(bool readable, bool writable) {
    if (state_ == State::connecting) {
        continue_connect();
        return;
    }
    if (!connected()) {
        return;
    }
    if (readable && PQconsumeInput(connection_.get()) == 0) {
        lose(trimmed_message(PQerrorMessage(connection_.get())));
        return;
    }
    if (writable || flush_pending_) {
        flush();
    }
    if (state_ == State::busy) {
        read_results();
    } else if (state_ == State::idle) {
        // Reads what arrived unasked: notices, and the server's farewell when it shuts down.
        while (PGnotify* notification = PQnotifies(connection_.get())) {
            PQfreemem(notification);
        }
        if (broken()) {
            lose(trimmed_message(PQerrorMessage(connection_.get())));
        }
    }
}

void Database::read_results() {
    while (state_ == State::busy && PQisBusy(connection_.get()) == 0) {
        PgResult result(PQgetResult(connection_.get()));
        if (broken()) {
            lose(trimmed_message(PQerrorMessage(connection_.get())));
            return;
        }
        if (result) {
            current_ = std::move(result);
            continue;
        }
        statement_ended();
        return;
    }
}

void Database::statement_ended() {
    if (rolled_back_) {
        finish(std::move(*rolled_back_));
        return;
    }
    if (!current_ || !succeeded(current_.get())) {
        roll_back({ScriptOutcome::Status::failed,
                   {},
                   field(current_.get(), PG_DIAG_SQLSTATE),
                   field(current_.get(), PG_DIAG_MESSAGE_PRIMARY)});
        return;
    }
    const bool truth = PQntuples(current_.get()) == 1 && PQnfields(current_.get()) >= 1 &&
                       std::strcmp(PQgetvalue(current_.get(), 0, 0), "t") == 0;
    if (script_[next_statement_].must_be_true && !truth) {
        roll_back({ScriptOutcome::Status::refused, {}, {}, "refused"});
        return;
    }
    results_.push_back(std::move(current_));
    if (++next_statement_ < script_.size()) {
        send_next();
        return;
    }
    finish({ScriptOutcome::Status::done, std::move(results_), {}, {}});
}

void Database::roll_back(ScriptOutcome outcome) {
    if (script_.size() == 1) {
        finish(std::move(outcome));
        return;
    }
    rolled_back_ = std::move(outcome);
    send_next();
}

void Database::finish(ScriptOutcome outcome) {
    if (state_ == State::busy) {
        state_ = State::idle;
    }
    script_.clear();
    rolled_back_.reset();
    const Done done = std::move(done_);
    done_ = nullptr;
    if (done) {
        done(std::move(outcome));
    }
    if (idle() && idle_callback_) {
        idle_callback_();
    }
}

void Database::notice(void* self, const PGresult* result) noexcept {
    try {
        auto* database = static_cast<Database*>(self);
        const bool warning = field(result, PG_DIAG_SEVERITY_NONLOCALIZED) == "WARNING";
        database->log_.log(
            warning ? LogLevel::warn : LogLevel::debug, "the database says",
            {{"connection", database->role_}, {"text", field(result, PG_DIAG_MESSAGE_PRIMARY)}});
    } catch (...) {
        // A message that cannot be logged is no reason to stop.
    }
}

}  // namespace sync_engine

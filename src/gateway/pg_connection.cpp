#include "gateway/pg_connection.hpp"

#include <array>
#include <cmath>
#include <utility>

#include "process/pg_values.hpp"

namespace sync_engine {

namespace asio = boost::asio;

namespace {

std::string field(const PGresult* result, int code) {
    const char* text = PQresultErrorField(result, code);
    return text == nullptr ? "" : text;
}

std::string milliseconds(double seconds) {
    return std::to_string(std::llround(seconds * 1000));
}

// Errors after which what was prepared is no longer to be relied upon: a statement that the server does not
// know, and one whose result has changed (which has the code of whatever is not supported).
bool is_stale_statement(const PgOutcome& outcome) {
    return outcome.status == PgOutcome::Status::failed &&
           (outcome.sqlstate == "26000" || outcome.sqlstate == "0A000");
}

bool is_refused_change(const PgOutcome& outcome) {
    return outcome.status == PgOutcome::Status::failed && outcome.sqlstate == "25006";
}

}  // namespace

// Gathers the answers to one pipeline.
class PgSession::Reader {
  public:
    Reader(const StatementCache::Plan& plan, const std::vector<PgStatement>& pipeline, StatementCache& cache)
        : plan_(plan), pipeline_(pipeline), cache_(cache) {
        for (std::size_t i = 0; i < plan.before.size(); ++i) {
            commands_.push_back({Command::before, i});
        }
        for (std::size_t i = 0; i < plan.steps.size(); ++i) {
            if (plan.steps[i].prepare) {
                commands_.push_back({Command::prepare, i});
            }
            commands_.push_back({Command::run, i});
        }
    }

    // False: what came is not what was asked for.
    bool take(PgResult result) {
        if (!result) {
            return ++at_ <= commands_.size();
        }
        switch (PQresultStatus(result.get())) {
            case PGRES_PIPELINE_SYNC:
                complete_ = true;
                return true;
            case PGRES_PIPELINE_ABORTED:
                return true;
            case PGRES_TUPLES_OK:
            case PGRES_COMMAND_OK:
                return keep(std::move(result));
            default:
                note_error(result.get());
                return true;
        }
    }

    bool complete() const noexcept { return complete_; }
    // What the server has said about why it closes the connection; empty as a rule.
    const std::string& message() const noexcept { return outcome_.message; }
    PgOutcome outcome() { return std::move(outcome_); }

  private:
    struct Command {
        enum Kind { before, prepare, run } kind;
        std::size_t index;
    };

    bool keep(PgResult result) {
        if (at_ >= commands_.size()) {
            return false;
        }
        const Command& command = commands_[at_];
        if (command.kind == Command::prepare) {
            cache_.prepared(pipeline_[command.index].sql, plan_.steps[command.index].name);
        } else if (command.kind == Command::run) {
            outcome_.results.push_back(std::move(result));
        }
        return true;
    }

    void note_error(const PGresult* result) {
        if (outcome_.status == PgOutcome::Status::failed) {
            return;
        }
        outcome_.status = PgOutcome::Status::failed;
        outcome_.results.clear();
        outcome_.sqlstate = field(result, PG_DIAG_SQLSTATE);
        outcome_.message = field(result, PG_DIAG_MESSAGE_PRIMARY);
        outcome_.detail = field(result, PG_DIAG_MESSAGE_DETAIL);
        outcome_.hint = field(result, PG_DIAG_MESSAGE_HINT);
        outcome_.constraint = field(result, PG_DIAG_CONSTRAINT_NAME);
    }

    const StatementCache::Plan& plan_;
    const std::vector<PgStatement>& pipeline_;
    StatementCache& cache_;
    std::vector<Command> commands_;
    std::size_t at_ = 0;
    bool complete_ = false;
    PgOutcome outcome_;
};

PgSession::PgSession(const asio::any_io_executor& executor, Logger& log, const PgSettings& settings)
    : log_(log), settings_(settings), watch_(executor) {}

PgSession::~PgSession() {
    close();
}

void PgSession::close() noexcept {
    watch_.release();
    connection_.reset();
    connected_ = false;
    statements_.clear();
}

void PgSession::abort() noexcept {
    close();
    wake();
}

std::string PgSession::error() const {
    std::string text = connection_ ? PQerrorMessage(connection_.get()) : "out of memory";
    while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) {
        text.pop_back();
    }
    return text.empty() ? "connection lost" : text;
}

PgOutcome PgSession::lose(std::string reason) {
    last_error_ = reason;
    close();
    PgOutcome outcome;
    outcome.status = PgOutcome::Status::lost;
    outcome.message = std::move(reason);
    return outcome;
}

PgOutcome PgSession::no_answer() {
    PgOutcome outcome = lose("no answer in time");
    outcome.status = PgOutcome::Status::timed_out;
    return outcome;
}

asio::awaitable<bool> PgSession::connect() {
    close();
    // Those before dbname are defaults that the URL may override; those after it are not for the user to
    // choose.
    const std::array<const char*, 8> keywords{"keepalives_idle",           "keepalives_interval",
                                              "keepalives_count",          "tcp_user_timeout",
                                              "fallback_application_name", "dbname",
                                              "client_encoding",           nullptr};
    const std::array<const char*, 8> values{
        "10", "5", "3", "20000", settings_.application_name.c_str(), settings_.url.c_str(), "UTF8", nullptr};
    connection_.reset(PQconnectStartParams(keywords.data(), values.data(), 1));
    if (!connection_ || broken()) {
        lose(error());
        co_return false;
    }
    PQsetNoticeReceiver(connection_.get(), &PgSession::notice, this);
    // GCC 12 miscompiles co_await in a condition.
    const bool dialled = co_await dial();
    if (!dialled) {
        co_return false;
    }
    co_return co_await set_up();
}

asio::awaitable<bool> PgSession::dial() {
    const SteadyTime until = seconds_from_now(settings_.connect_seconds);
    PostgresPollingStatusType wants = PGRES_POLLING_WRITING;
    while (wants != PGRES_POLLING_OK) {
        watch_.assign(PQsocket(connection_.get()));
        bool ready = false;
        while (!ready) {
            ready =
                co_await watch_.wait(wants == PGRES_POLLING_READING, wants == PGRES_POLLING_WRITING, until);
            if (!connection_) {
                co_return false;
            }
            if (!ready && std::chrono::steady_clock::now() >= until) {
                lose("no answer while connecting");
                co_return false;
            }
        }
        // libpq may go on with another socket, which may have the same number.
        watch_.release();
        wants = PQconnectPoll(connection_.get());
        if (wants == PGRES_POLLING_FAILED) {
            lose(error());
            co_return false;
        }
    }
    watch_.assign(PQsocket(connection_.get()));
    co_return true;
}

asio::awaitable<bool> PgSession::set_up() {
    if (PQsetnonblocking(connection_.get(), 1) != 0 || PQenterPipelineMode(connection_.get()) != 1) {
        lose(error());
        co_return false;
    }
    connected_ = true;
    const std::vector<PgStatement> settings{
        // What a gateway asks is short: compiling it would take longer than running it. Times in JSON are
        // UTC's.
        {"SELECT set_config('statement_timeout', $1, false), "
         "set_config('idle_in_transaction_session_timeout', $2, false), set_config('jit', 'off', false), "
         "set_config('TimeZone', 'UTC', false), pg_is_in_recovery()",
         {milliseconds(settings_.statement_seconds), milliseconds(settings_.idle_in_transaction_seconds)}}};
    const PgOutcome outcome = co_await exchange(settings);
    if (!outcome.done()) {
        lose(outcome.message);
        co_return false;
    }
    // Asked as well: not every proxy passes on what the server reports by itself.
    if (Row(outcome.result(), 0).boolean(4)) {
        lose(std::string(kServerIsStandby));
        co_return false;
    }
    co_return true;
}

std::string_view PgSession::unfit() const noexcept {
    const auto is_on = [this](const char* parameter) {
        const char* value = PQparameterStatus(connection_.get(), parameter);
        return value != nullptr && std::string_view(value) == "on";
    };
    if (is_on("in_hot_standby")) {
        return kServerIsStandby;
    }
    return is_on("default_transaction_read_only") ? kServerIsReadOnly : std::string_view();
}

bool PgSession::look() {
    if (connected_ && (PQconsumeInput(connection_.get()) == 0 || broken())) {
        lose(error());
    } else if (connected_ && !unfit().empty()) {
        lose(std::string(unfit()));
    }
    return connected_;
}

asio::awaitable<PgOutcome> PgSession::run(const std::vector<PgStatement>& pipeline, bool may_repeat) {
    PgOutcome outcome = co_await exchange(pipeline);
    if (is_stale_statement(outcome)) {
        statements_.distrust();
        if (may_repeat) {
            co_await tidy();
            outcome = co_await exchange(pipeline);
        }
    }
    if (connected_ && is_refused_change(outcome)) {
        // It would refuse the next one too.
        lose(std::string(unfit().empty() ? kServerIsStandby : unfit()));
    }
    co_return outcome;
}

asio::awaitable<void> PgSession::tidy() {
    if (!connected_ || PQtransactionStatus(connection_.get()) == PQTRANS_IDLE) {
        co_return;
    }
    const std::vector<PgStatement> rollback{{"ROLLBACK", {}}};
    co_await exchange(rollback);
    if (connected_ && PQtransactionStatus(connection_.get()) != PQTRANS_IDLE) {
        lose("a transaction could not be ended");
    }
}

bool PgSession::send(const StatementCache::Plan& plan, const std::vector<PgStatement>& pipeline) {
    PGconn* connection = connection_.get();
    const auto send_plain = [&](const std::string& sql) {
        return PQsendQueryParams(connection, sql.c_str(), 0, nullptr, nullptr, nullptr, nullptr, 0) == 1;
    };
    for (const std::string& sql : plan.before) {
        if (!send_plain(sql)) {
            return false;
        }
    }
    for (std::size_t i = 0; i < pipeline.size(); ++i) {
        const StatementCache::Step& step = plan.steps[i];
        if (step.name.empty()) {
            if (!send_plain(pipeline[i].sql)) {
                return false;
            }
            continue;
        }
        if (step.prepare &&
            PQsendPrepare(connection, step.name.c_str(), pipeline[i].sql.c_str(), 0, nullptr) != 1) {
            return false;
        }
        std::vector<const char*> values;
        for (const auto& param : pipeline[i].params) {
            values.push_back(param ? param->c_str() : nullptr);
        }
        if (PQsendQueryPrepared(connection, step.name.c_str(), static_cast<int>(values.size()), values.data(),
                                nullptr, nullptr, 0) != 1) {
            return false;
        }
    }
    return PQpipelineSync(connection) == 1;
}

bool PgSession::read_available(Reader& reader) {
    while (PQisBusy(connection_.get()) == 0) {
        PgResult result(PQgetResult(connection_.get()));
        if (broken() || !reader.take(std::move(result))) {
            lose(reader.message().empty() ? error() : reader.message());
            return true;
        }
        if (reader.complete()) {
            return true;
        }
    }
    return false;
}

asio::awaitable<PgOutcome> PgSession::exchange(const std::vector<PgStatement>& pipeline) {
    if (!look()) {
        co_return lose(last_error_);
    }
    const StatementCache::Plan plan = statements_.plan(pipeline);
    Reader reader(plan, pipeline, statements_);
    if (!send(plan, pipeline)) {
        co_return lose(error());
    }
    const SteadyTime until = seconds_from_now(settings_.answer_seconds);
    while (true) {
        const int left = PQflush(connection_.get());
        if (left < 0) {
            // What the server said before it closed explains more than the failed write.
            PQconsumeInput(connection_.get());
            co_return lose(error());
        }
        if (read_available(reader)) {
            co_return connected_ ? reader.outcome() : lose(last_error_);
        }
        co_await watch_.wait(true, left > 0, until);
        if (!connected_) {
            co_return lose("closed");
        }
        if (std::chrono::steady_clock::now() >= until) {
            co_return no_answer();
        }
        if (PQconsumeInput(connection_.get()) == 0) {
            co_return lose(reader.message().empty() ? error() : reader.message());
        }
    }
}

asio::awaitable<bool> PgSession::listen(std::string_view channel) {
    std::vector<PgStatement> pipeline;
    pipeline.push_back({"LISTEN " + std::string(channel), {}});
    const PgOutcome outcome = co_await exchange(pipeline);
    // Outside of a pipeline libpq reads whatever comes unasked, so that nothing else can stand before a
    // notification.
    if (outcome.done() && PQexitPipelineMode(connection_.get()) != 1) {
        lose(error());
    }
    if (!outcome.done() && connected_) {
        lose(outcome.message);
    }
    co_return connected_;
}

std::vector<std::string> PgSession::take_notifications() {
    std::vector<std::string> payloads;
    while (connected_) {
        PGnotify* notification = PQnotifies(connection_.get());
        if (notification == nullptr) {
            break;
        }
        payloads.emplace_back(notification->extra);
        PQfreemem(notification);
    }
    return payloads;
}

asio::awaitable<void> PgSession::idle(SteadyTime until) {
    const bool ready = co_await watch_.wait(connected_, false, until);
    if (ready) {
        look();
    }
}

void PgSession::notice(void* self, const PGresult* result) noexcept {
    try {
        auto* session = static_cast<PgSession*>(self);
        const bool warning = field(result, PG_DIAG_SEVERITY_NONLOCALIZED) == "WARNING";
        session->log_.log(warning ? LogLevel::warn : LogLevel::debug, "the database says",
                          {{"text", field(result, PG_DIAG_MESSAGE_PRIMARY)}});
    } catch (...) {
        // A message that cannot be logged is no reason to stop.
    }
}

}  // namespace sync_engine

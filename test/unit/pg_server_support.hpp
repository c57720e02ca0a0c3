#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <exception>
#include <fcntl.h>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <unistd.h>

#include "process/log.hpp"
#include "process/redactor.hpp"

namespace sync_engine {

// What a server answers to one statement; an empty optional is NULL.
struct PgFakeAnswer {
    std::vector<std::vector<std::optional<std::string>>> rows;
    std::string sqlstate;  // not empty: an error
    std::string message;
};

using PgFakeParams = std::vector<std::optional<std::string>>;

// Speaks as much of PostgreSQL's protocol as libpq's pipelines need, on the loopback and on the same
// io_context as what is tested. Settings of sessions are answered by itself.
class PgFakeServer {
  public:
    using Answers = std::function<boost::asio::awaitable<PgFakeAnswer>(std::string, PgFakeParams)>;

    explicit PgFakeServer(boost::asio::io_context& io)
        : shared_(std::make_shared<Shared>()), acceptor_(io, {boost::asio::ip::address_v4::loopback(), 0}) {
        boost::asio::co_spawn(io, accept(acceptor_, shared_), boost::asio::detached);
    }

    std::string url() const {
        return "host=127.0.0.1 user=u dbname=d sslmode=disable gssencmode=disable port=" +
               std::to_string(acceptor_.local_endpoint().port());
    }

    // What sessions to come are told of the server: {"in_hot_standby", "on"}.
    std::map<std::string, std::string>& parameters() { return shared_->parameters; }
    void in_recovery(bool is) { shared_->in_recovery = is; }
    void answer(Answers with) { shared_->answers = std::move(with); }
    // Said before the next answer of each session, as a server whose settings are read anew does.
    void report(std::string name, std::string value) {
        shared_->reports.emplace_back(std::move(name), std::move(value));
    }

    int sessions() const { return shared_->sessions; }  // that there have been
    int open_sessions() const { return shared_->open_sessions; }

  private:
    using Socket = boost::asio::ip::tcp::socket;

    struct Shared {
        std::map<std::string, std::string> parameters{{"server_version", "15.0"},
                                                      {"client_encoding", "UTF8"}};
        std::vector<std::pair<std::string, std::string>> reports;
        bool in_recovery = false;
        Answers answers;
        int sessions = 0;
        int open_sessions = 0;
    };

    struct Session {
        explicit Session(Socket of) : socket(std::move(of)) {}
        Socket socket;
        std::map<std::string, std::string> statements;  // by name
        PgFakeAnswer answer;
        std::string sql;
        bool in_transaction = false;
        bool failed = false;  // up to the next Sync
        std::string out;
    };

    // Takes apart what a message holds.
    struct Body {
        std::string bytes;
        std::size_t at = 0;

        std::uint32_t number(std::size_t size) {
            std::uint32_t value = 0;
            for (std::size_t i = 0; i < size; ++i) {
                value = value << 8U | static_cast<unsigned char>(bytes.at(at++));
            }
            return value;
        }
        std::string text() {
            std::string value = bytes.c_str() + at;
            at += value.size() + 1;
            return value;
        }
    };

    static std::string big_endian(std::uint32_t value, int size) {
        std::string bytes;
        for (int i = size - 1; i >= 0; --i) {
            bytes += static_cast<char>(value >> (8 * i) & 0xFFU);
        }
        return bytes;
    }

    static std::string message(char type, const std::string& body) {
        return type + big_endian(static_cast<std::uint32_t>(body.size() + 4), 4) + body;
    }

    static std::string zero_ended(std::string text) { return std::move(text) + '\0'; }

    static std::string parameter(const std::string& name, const std::string& value) {
        return message('S', zero_ended(name) + zero_ended(value));
    }

    static boost::asio::awaitable<void> accept(boost::asio::ip::tcp::acceptor& acceptor,
                                               std::shared_ptr<Shared> shared) {
        while (true) {
            Socket socket = co_await acceptor.async_accept(boost::asio::use_awaitable);
            boost::asio::co_spawn(acceptor.get_executor(), serve(std::move(socket), shared),
                                  boost::asio::detached);
        }
    }

    static boost::asio::awaitable<std::string> read(Socket& socket, std::size_t size) {
        std::string bytes(size, '\0');
        co_await boost::asio::async_read(socket, boost::asio::buffer(bytes), boost::asio::use_awaitable);
        co_return bytes;
    }

    // GCC 12 miscompiles co_await in the braces of an aggregate.
    static boost::asio::awaitable<Body> read_body(Socket& socket) {
        Body size;
        size.bytes = co_await read(socket, 4);
        Body body;
        body.bytes = co_await read(socket, size.number(4) - 4);
        co_return body;
    }

    static boost::asio::awaitable<void> serve(Socket socket, std::shared_ptr<Shared> shared) {
        Session session(std::move(socket));
        ++shared->sessions;
        ++shared->open_sessions;
        try {
            co_await read_body(session.socket);
            session.out = message('R', big_endian(0, 4));
            for (const auto& [name, value] : shared->parameters) {
                session.out += parameter(name, value);
            }
            session.out += message('K', big_endian(1, 4) + big_endian(2, 4)) + message('Z', "I");
            co_await flush(session);
            while (true) {
                const std::string type = co_await read(session.socket, 1);
                Body body = co_await read_body(session.socket);
                co_await take(session, *shared, type.front(), std::move(body));
            }
        } catch (const std::exception&) {  // the client is gone
        }
        --shared->open_sessions;
    }

    static boost::asio::awaitable<void> flush(Session& session) {
        const std::string out = std::exchange(session.out, "");
        co_await boost::asio::async_write(session.socket, boost::asio::buffer(out),
                                          boost::asio::use_awaitable);
    }

    static boost::asio::awaitable<void> take(Session& session, Shared& shared, char type, Body body) {
        if (type == 'S') {
            for (const auto& [name, value] : shared.reports) {
                session.out += parameter(name, value);
            }
            session.out += message('Z', session.in_transaction ? "T" : "I");
            session.failed = false;
            co_await flush(session);
        } else if (session.failed) {
            co_return;
        } else if (type == 'P') {
            const std::string name = body.text();
            session.statements[name] = body.text();
            session.out += message('1', "");
        } else if (type == 'B') {
            co_await bind(session, shared, std::move(body));
        } else if (type == 'D') {
            session.out += description(session.answer);
        } else if (type == 'E') {
            session.out += rows(session.answer) + message('C', zero_ended(tag(session)));
        }
    }

    static boost::asio::awaitable<void> bind(Session& session, Shared& shared, Body body) {
        body.text();
        session.sql = session.statements[body.text()];
        body.at += 2 * static_cast<std::size_t>(body.number(2));
        PgFakeParams params(body.number(2));
        for (auto& param : params) {
            const std::uint32_t size = body.number(4);
            if (size != 0xFFFFFFFFU) {
                param = body.bytes.substr(body.at, size);
                body.at += size;
            }
        }
        session.answer = {};
        if (session.sql.find("pg_is_in_recovery") != std::string::npos) {
            session.answer.rows = {{"", "", "", "", shared.in_recovery ? "t" : "f"}};
        } else if (session.sql == "BEGIN" || session.sql == "COMMIT" || session.sql == "ROLLBACK") {
            session.in_transaction = session.sql == "BEGIN";
        } else if (shared.answers) {
            session.answer = co_await shared.answers(session.sql, std::move(params));
        }
        if (!session.answer.sqlstate.empty()) {
            session.failed = true;
            session.out += message('E', "SERROR" + zero_ended("") + "VERROR" + zero_ended("") + "C" +
                                            zero_ended(session.answer.sqlstate) + "M" +
                                            zero_ended(session.answer.message) + '\0');
        } else {
            session.out += message('2', "");
        }
    }

    static std::string description(const PgFakeAnswer& answer) {
        if (answer.rows.empty()) {
            return message('n', "");
        }
        const std::size_t columns = answer.rows.front().size();
        std::string body = big_endian(static_cast<std::uint32_t>(columns), 2);
        for (std::size_t i = 0; i < columns; ++i) {
            body += zero_ended("c" + std::to_string(i)) + big_endian(0, 4) + big_endian(0, 2) +
                    big_endian(25, 4) + big_endian(0xFFFF, 2) + big_endian(0xFFFFFFFF, 4) + big_endian(0, 2);
        }
        return message('T', body);
    }

    static std::string rows(const PgFakeAnswer& answer) {
        std::string out;
        for (const auto& row : answer.rows) {
            std::string body = big_endian(static_cast<std::uint32_t>(row.size()), 2);
            for (const auto& value : row) {
                body += value ? big_endian(static_cast<std::uint32_t>(value->size()), 4) + *value
                              : big_endian(0xFFFFFFFF, 4);
            }
            out += message('D', body);
        }
        return out;
    }

    static std::string tag(const Session& session) {
        const bool plain = session.sql == "BEGIN" || session.sql == "COMMIT" || session.sql == "ROLLBACK";
        return plain ? session.sql : "SELECT " + std::to_string(session.answer.rows.size());
    }

    std::shared_ptr<Shared> shared_;
    boost::asio::ip::tcp::acceptor acceptor_;
};

// A log that nobody reads.
class SilentLog {
  public:
    SilentLog() : fd_(open("/dev/null", O_WRONLY | O_CLOEXEC)), log_(fd_, LogLevel::error, redactor_) {}
    SilentLog(const SilentLog&) = delete;
    SilentLog& operator=(const SilentLog&) = delete;
    ~SilentLog() { close(fd_); }

    Logger& operator*() { return log_; }

  private:
    Redactor redactor_;
    int fd_;
    Logger log_;
};

// Runs until that is so, or for ten seconds; whether it came to be so.
template <class Condition>
bool run_until(boost::asio::io_context& io, Condition is_so) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    io.restart();
    while (!is_so() && std::chrono::steady_clock::now() < until) {
        io.run_one_for(std::chrono::milliseconds(20));
        io.restart();
    }
    return is_so();
}

// What a coroutine returns.
template <class Result>
Result result_of_running(boost::asio::io_context& io, boost::asio::awaitable<Result> work) {
    std::optional<Result> result;
    std::exception_ptr error;
    boost::asio::co_spawn(io, std::move(work), [&](const std::exception_ptr& thrown, Result returned) {
        error = thrown;
        result = std::move(returned);
    });
    run_until(io, [&] { return result.has_value(); });
    if (error) {
        std::rethrow_exception(error);
    }
    return std::move(result.value());
}

}  // namespace sync_engine

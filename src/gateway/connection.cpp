#include "gateway/connection.hpp"

#include <algorithm>
#include <ctime>
#include <exception>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "gateway/client_address.hpp"
#include "gateway/connection_list.hpp"
#include "gateway/exchange.hpp"
#include "gateway/logged_path.hpp"

namespace sync_engine {

namespace asio = boost::asio;

namespace {

constexpr std::size_t kReadBytes = 16 * 1024;
constexpr std::size_t kWriteBytes = 64 * 1024;
constexpr double kLingerSeconds = 2;

double seconds_since(GatewayClock::time_point then) {
    return std::chrono::duration<double>(GatewayClock::now() - then).count();
}

Problem timeout_problem(unsigned status, std::string_view detail) {
    Problem problem;
    problem.status = status;
    problem.code = "timeout";
    problem.detail = detail;
    return problem;
}

}  // namespace

// A handler at work. Lives until the handler has returned, though nobody may wait for it any more.
struct Connection::Pending {
    explicit Pending(const asio::any_io_executor& executor)
        : changed(executor, GatewayClock::time_point::max()) {}

    asio::steady_timer changed;  // cancelled when the handler has returned, or is not waited for any more
    asio::cancellation_signal stop;
    bool returned = false;
    std::exception_ptr error;
    HttpReply reply;
};

Connection::Connection(asio::any_io_executor executor, std::unique_ptr<Transport> transport,
                       const IpAddress& peer, ConnectionTools& tools)
    : executor_(std::move(executor)), transport_(std::move(transport)), peer_(peer), tools_(tools) {
    tools_.list.add(*this, peer_);
    tools_.metrics.connections(tools_.list.size());
    set_phase(Phase::opening, tools_.options.header_timeout);
}

Connection::~Connection() {
    transport_->cut();
    tools_.list.remove(*this, peer_);
    tools_.metrics.connections(tools_.list.size());
}

void Connection::set_phase(Phase phase, double seconds) {
    phase_ = phase;
    expired_ = false;
    deadline_ = GatewayClock::now() +
                std::chrono::duration_cast<GatewayClock::duration>(std::chrono::duration<double>(seconds));
}

void Connection::tick(GatewayClock::time_point now) {
    if (now < deadline_ || expired_) {
        return;
    }
    expired_ = true;
    if (pending_) {
        pending_->changed.cancel();
    } else {
        transport_->cancel();
    }
}

void Connection::drain() {
    if (phase_ == Phase::idle) {
        cut();
    } else if (phase_ == Phase::opening) {
        // Whoever has just come may still have its request under way.
        deadline_ = std::min(deadline_, GatewayClock::now() + std::chrono::seconds(1));
    } else if (events_) {
        events_->closed();
    }
}

void Connection::cut() {
    gone_ = true;
    if (events_) {
        events_->closed();
    }
    if (pending_) {
        expired_ = true;
        pending_->changed.cancel();
    }
    transport_->cut();
}

asio::awaitable<void> Connection::serve(std::shared_ptr<Connection> self) {
    try {
        const bool open = co_await self->transport_->handshake();
        if (!open) {
            co_return;
        }
        for (bool goes_on = true; goes_on;) {
            goes_on = co_await self->serve_one();
        }
        if (!self->gone_) {
            self->set_phase(Phase::closing, kLingerSeconds);
            co_await self->transport_->finish();
        }
    } catch (const std::exception& error) {
        self->tools_.log.error("a connection ended", {{"error", error.what()}});
    }
}

// Whether the connection goes on.
asio::awaitable<bool> Connection::serve_one() {
    RequestReader reader({tools_.options.max_header_bytes, tools_.options.max_body_bytes});
    Exchange exchange;
    const bool read = co_await read_request(exchange, reader);
    if (!read) {
        co_return false;
    }
    HttpRequest& request = reader.request();
    identify(request);
    ++served_;
    exchange.method = request.method;
    exchange.path = logged_path(request.path);
    exchange.client = request.client;
    exchange.request_id = request.request_id;
    exchange.context.is_http_1_0 = reader.framing().is_http_1_0;
    exchange.context.is_head = request.method == "HEAD";
    exchange.context.secure = request.secure;
    const HttpReply reply = co_await handle(std::move(request));
    exchange.context.keep_alive = reader.framing().keep_alive && !tools_.draining &&
                                  served_ < tools_.options.max_requests_per_connection;
    if (reply.events) {
        co_return co_await stream(exchange, reply);
    }
    co_return co_await send(exchange, reply) && exchange.context.keep_alive;
}

// False: there is none, and nothing more to say.
asio::awaitable<bool> Connection::read_request(Exchange& exchange, RequestReader& reader) {
    if (served_ > 0) {
        // The server may have begun to stop while the last answer was written.
        if (tools_.draining) {
            co_return false;
        }
        set_phase(received_.empty() ? Phase::idle : Phase::reading,
                  received_.empty() ? tools_.options.idle_timeout : tools_.options.header_timeout);
    }
    bool begun = !received_.empty();
    auto state = RequestReader::State::head;
    while (true) {
        while (!received_.empty()) {
            const auto before = state;
            state = reader.read(received_);
            if (state == RequestReader::State::done) {
                co_return true;
            }
            if (state == RequestReader::State::refused) {
                co_await refuse(exchange, reader.problem());
                co_return false;
            }
            if (state == before) {
                break;
            }
            set_phase(Phase::reading, tools_.options.body_timeout);
            if (received_.empty() && reader.framing().expects_continue) {
                const bool written = co_await transport_->write("HTTP/1.1 100 Continue\r\n\r\n");
                if (!written) {
                    co_return false;
                }
            }
        }
        const bool received = co_await receive();
        if (!received) {
            if (expired_ && begun) {
                co_await refuse(exchange, timeout_problem(408, "the request did not arrive in time"));
            }
            co_return false;
        }
        if (!begun) {
            begun = true;
            exchange.begun = GatewayClock::now();
            if (phase_ == Phase::idle) {
                set_phase(Phase::reading, tools_.options.header_timeout);
            }
            phase_ = Phase::reading;
        }
    }
}

// Appends to received_. False: the client is gone, or time is up.
asio::awaitable<bool> Connection::receive() {
    if (expired_) {
        co_return false;
    }
    const std::size_t before = received_.size();
    received_.resize(before + kReadBytes);
    const std::size_t count = co_await transport_->read_some({received_.data() + before, kReadBytes});
    received_.resize(before + count);
    co_return count > 0;
}

void Connection::identify(HttpRequest& request) {
    const auto& trusted = tools_.options.trusted_proxies;
    request.client = ip_address_text(client_address(peer_, request, trusted));
    request.hides_client = hides_client(peer_, request, trusted);
    request.secure = came_securely(peer_, transport_->is_tls(), request, trusted);
    const std::string* given = request.header("x-request-id");
    request.request_id = given != nullptr && is_request_id(*given) ? *given : tools_.ids.make();
}

asio::awaitable<HttpReply> Connection::handle(HttpRequest request) {
    set_phase(Phase::handling, tools_.options.request_timeout);
    const std::string request_id = request.request_id;
    const auto pending = std::make_shared<Pending>(executor_);
    pending_ = pending;
    ++tools_.handling;
    asio::co_spawn(
        executor_, tools_.handler.handle(std::move(request)),
        asio::bind_cancellation_slot(pending->stop.slot(),
                                     [pending, &tools = tools_](std::exception_ptr error, HttpReply reply) {
                                         --tools.handling;
                                         pending->returned = true;
                                         pending->error = std::move(error);
                                         pending->reply = std::move(reply);
                                         pending->changed.cancel();
                                     }));
    while (!pending->returned && !expired_) {
        boost::system::error_code cancelled;
        co_await pending->changed.async_wait(asio::redirect_error(asio::use_awaitable, cancelled));
    }
    pending_.reset();
    co_return outcome(*pending, request_id);
}

HttpReply Connection::outcome(Pending& pending, const std::string& request_id) {
    if (!pending.returned) {
        if (!gone_) {
            tools_.metrics.timed_out();
        }
        pending.stop.emit(asio::cancellation_type::terminal);
        HttpReply reply = problem_reply(timeout_problem(503, "the request took too long"), request_id);
        reply.headers.emplace_back("Retry-After", "1");
        return reply;
    }
    if (!pending.error) {
        return std::move(pending.reply);
    }
    std::string what = "unknown";
    try {
        std::rethrow_exception(pending.error);
    } catch (const std::exception& error) {
        what = error.what();
    } catch (...) {
        what = "no exception of the standard library";
    }
    tools_.log.error("a request failed", {{"error", what}, {"request_id", request_id}});
    Problem problem;
    problem.code = "internal";
    problem.detail = "the server's log has more under the request_id";
    return problem_reply(problem, request_id);
}

asio::awaitable<void> Connection::refuse(Exchange& exchange, const Problem& problem) {
    exchange.client = ip_address_text(effective_address(peer_));
    exchange.request_id = tools_.ids.make();
    exchange.context.secure = transport_->is_tls();
    co_await send(exchange, problem_reply(problem, exchange.request_id));
}

// Whether the client took it.
asio::awaitable<bool> Connection::send(Exchange& exchange, const HttpReply& reply) {
    exchange.context.request_id = exchange.request_id;
    exchange.context.now = std::time(nullptr);
    std::string head = reply_head(reply, exchange.context);
    std::string_view body = reply.body;
    if (exchange.context.is_head || !may_have_body(reply.status)) {
        body = {};
    }
    exchange.body_bytes = body.size();
    if (body.size() <= kWriteBytes) {
        head += body;
        body = {};
    }
    bool taken = co_await write(head);
    while (taken && !body.empty()) {
        taken = co_await write(body.substr(0, kWriteBytes));
        body.remove_prefix(std::min(body.size(), kWriteBytes));
    }
    end(exchange, reply.status, taken);
    co_return taken;
}

asio::awaitable<bool> Connection::write(std::string_view data) {
    set_phase(Phase::writing, tools_.options.write_timeout);
    co_return co_await transport_->write(data) && !expired_;
}

// The line of the log, which has neither query nor header nor body, and the counts.
void Connection::end(const Exchange& exchange, unsigned status, bool complete) {
    const double seconds = seconds_since(exchange.begun);
    tools_.metrics.request_ended(exchange.method, complete ? status : 0, exchange.is_stream ? -1 : seconds);
    tools_.log.info("request", {{"method", exchange.method},
                                {"path", exchange.path},
                                {"status", static_cast<std::int64_t>(status)},
                                {"bytes", static_cast<std::int64_t>(exchange.body_bytes)},
                                {"duration_ms", seconds * 1000},
                                {"client", exchange.client},
                                {"request_id", exchange.request_id},
                                {"complete", complete}});
}

}  // namespace sync_engine

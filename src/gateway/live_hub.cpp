#include "gateway/live_hub.hpp"

#include <map>
#include <string>
#include <utility>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

#include "connectors/url_text.hpp"
#include "gateway/bearer_token.hpp"
#include "gateway/database_problem.hpp"
#include "gateway/live_listener.hpp"
#include "gateway/problem.hpp"

namespace sync_engine {

namespace asio = boost::asio;

namespace {

HttpReply refuse(const HttpRequest& request, const Problem& problem, std::string header = "",
                 std::string value = "") {
    HttpReply reply = problem_reply(problem, request.request_id);
    if (!header.empty()) {
        reply.headers.emplace_back(std::move(header), std::move(value));
    }
    return reply;
}

Problem problem_of(unsigned status, std::string code, std::string detail, std::string pointer = "") {
    Problem problem;
    problem.status = status;
    problem.code = std::move(code);
    problem.detail = std::move(detail);
    problem.pointer = std::move(pointer);
    return problem;
}

std::string token_of(const HttpRequest& request) {
    const std::string* authorization = request.header("authorization");
    return authorization == nullptr ? "" : std::string(bearer_token(*authorization));
}

std::string last_event_id(const HttpRequest& request) {
    if (const std::string* header = request.header("last-event-id")) {
        return *header;
    }
    const auto values = parameter_values(request.target, "last_event_id");
    return values.empty() ? "" : values.front();
}

// What no position looks like is asked for all the same, as one that is not known.
std::string plain_position(const std::string& position) {
    const bool plain =
        position.size() <= 100 && position.find_first_not_of("0123456789abcdefABCDEF-") == std::string::npos;
    return plain || position.empty() ? position : "unknown";
}

}  // namespace

class LiveHub::Impl : public std::enable_shared_from_this<Impl> {
  public:
    Impl(const asio::any_io_executor& executor, PgPool& pool, Logger& log, ServiceMetrics& metrics,
         const LiveOptions& options)
        : executor_(executor), pool_(pool), log_(log), metrics_(metrics), options_(options) {}

    asio::awaitable<HttpReply> handle(HttpRequest request);
    void close();
    std::size_t streams() const;
    std::size_t tenants() const { return tenants_.size(); }

  private:
    struct Entry {
        std::string slot;
        std::shared_ptr<LiveTenant> tenant;
    };

    void follow_on(const LiveOpening& opening, const std::shared_ptr<LiveStream>& stream, std::string after);
    std::size_t streams_of(const LiveOpening& opening, std::string_view token) const;
    HttpReply open(const HttpRequest& request, const LiveOpening& opening, LiveFilter filter,
                   std::string token);
    void start_listening();
    void changed(const std::string& slot);
    asio::awaitable<void> follow(std::string tenant_id, std::shared_ptr<LiveTenant> tenant);

    asio::any_io_executor executor_;
    PgPool& pool_;
    Logger& log_;
    ServiceMetrics& metrics_;
    LiveOptions options_;
    std::shared_ptr<LiveListener> listener_;
    std::map<std::string, Entry> tenants_;  // by id
    bool closed_ = false;
};

asio::awaitable<HttpReply> LiveHub::Impl::handle(HttpRequest request) {
    const auto self = shared_from_this();
    if (request.method != "GET") {
        co_return refuse(request, problem_of(405, "method_not_allowed", "events are read by GET"), "Allow",
                         "GET");
    }
    const std::string token = token_of(request);
    if (token.empty()) {
        co_return refuse(request, problem_of(401, "unauthenticated", "a bearer token is needed"),
                         "WWW-Authenticate", "Bearer");
    }
    LiveFilter filter;
    std::string parameter;
    std::string fault;
    if (!read_live_filter(request.target, filter, parameter, fault)) {
        co_return refuse(request, problem_of(400, "invalid_parameter", fault, parameter));
    }
    const LiveOpening opening = co_await open_live(pool_, token, request.request_id);
    if (!opening.outcome.done()) {
        co_return database_problem_reply(opening.outcome, request.request_id, log_);
    }
    co_return open(request, opening, std::move(filter), token);
}

HttpReply LiveHub::Impl::open(const HttpRequest& request, const LiveOpening& opening, LiveFilter filter,
                              std::string token) {
    if (closed_) {
        return refuse(request, problem_of(503, "unavailable", "the gateway stops"), "Retry-After", "1");
    }
    if (streams_of(opening, token) >= options_.streams_per_token) {
        return refuse(
            request,
            problem_of(429, "too_many_streams",
                       "a token may have " + std::to_string(options_.streams_per_token) + " streams"),
            "Retry-After", "10");
    }
    auto stream = std::make_shared<LiveStream>(executor_, std::move(filter), std::move(token),
                                               options_.times.ping_seconds);
    std::string after = plain_position(last_event_id(request));
    HttpReply reply;
    reply.headers.emplace_back("Content-Type", "text/event-stream");
    reply.body = opening_text(after.empty() ? opening.position : "");
    if (after.empty()) {
        stream->reached(opening.position);
    }
    follow_on(opening, stream, std::move(after));
    reply.events = std::move(stream);
    return reply;
}

std::size_t LiveHub::Impl::streams_of(const LiveOpening& opening, std::string_view token) const {
    const auto found = tenants_.find(opening.tenant_id);
    return found == tenants_.end() ? 0 : found->second.tenant->streams_of(token);
}

void LiveHub::Impl::follow_on(const LiveOpening& opening, const std::shared_ptr<LiveStream>& stream,
                              std::string after) {
    Entry& entry = tenants_[opening.tenant_id];
    if (entry.tenant) {
        entry.tenant->add(stream, std::move(after));
        return;
    }
    start_listening();
    entry.slot = opening.slot;
    entry.tenant =
        std::make_shared<LiveTenant>(executor_, pool_, log_, metrics_, options_.times, opening.position);
    entry.tenant->add(stream, std::move(after));
    asio::co_spawn(
        executor_,
        [self = shared_from_this(), id = opening.tenant_id,
         tenant = entry.tenant]() -> asio::awaitable<void> { return self->follow(id, tenant); },
        asio::detached);
}

asio::awaitable<void> LiveHub::Impl::follow(std::string tenant_id, std::shared_ptr<LiveTenant> tenant) {
    co_await tenant->follow();
    // Nobody came between its last look and this: there was no wait.
    if (const auto found = tenants_.find(tenant_id);
        found != tenants_.end() && found->second.tenant == tenant) {
        tenants_.erase(found);
    }
}

void LiveHub::Impl::start_listening() {
    if (listener_) {
        return;
    }
    listener_ = std::make_shared<LiveListener>(executor_, log_, pool_.settings(),
                                               [weak = weak_from_this()](const std::string& slot) {
                                                   if (const auto self = weak.lock()) {
                                                       self->changed(slot);
                                                   }
                                               });
    asio::co_spawn(
        executor_, [listener = listener_]() -> asio::awaitable<void> { return listener->run(); },
        asio::detached);
}

void LiveHub::Impl::changed(const std::string& slot) {
    for (const auto& [id, entry] : tenants_) {
        if (slot.empty() || entry.slot == slot) {
            entry.tenant->wake();
        }
    }
}

void LiveHub::Impl::close() {
    closed_ = true;
    if (listener_) {
        listener_->close();
    }
    for (const auto& [id, entry] : tenants_) {
        entry.tenant->close();
    }
}

std::size_t LiveHub::Impl::streams() const {
    std::size_t open = 0;
    for (const auto& [id, entry] : tenants_) {
        open += entry.tenant->streams();
    }
    return open;
}

LiveHub::LiveHub(const asio::any_io_executor& executor, PgPool& pool, Logger& log, ServiceMetrics& metrics,
                 const LiveOptions& options)
    : impl_(std::make_shared<Impl>(executor, pool, log, metrics, options)) {}

LiveHub::~LiveHub() {
    close();
}

asio::awaitable<HttpReply> LiveHub::handle(HttpRequest request) {
    return impl_->handle(std::move(request));
}

void LiveHub::close() {
    impl_->close();
}

std::size_t LiveHub::streams() const {
    return impl_->streams();
}

std::size_t LiveHub::tenants() const {
    return impl_->tenants();
}

}  // namespace sync_engine

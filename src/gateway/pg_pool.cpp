#include "gateway/pg_pool.hpp"

#include <algorithm>
#include <utility>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

#include "gateway/pg_lease.hpp"
#include "gateway/turn_queue.hpp"
#include "process/retry_delay.hpp"

namespace sync_engine {

namespace asio = boost::asio;

namespace {

double seconds_since(SteadyTime from) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - from).count();
}

// A request for a connection: for one pipeline or, where there is a link, for a transaction.
struct PgRequest {
    PgRequest(const asio::any_io_executor& executor, std::string by)
        : key(std::move(by)), task(std::make_shared<PgTask>(executor)) {}

    std::string key;
    std::shared_ptr<PgTask> task;
    std::shared_ptr<PgPool::Lease::Link> link;
    SteadyTime since = std::chrono::steady_clock::now();
    bool taken = false;
};

using PgRequests = TurnQueue<std::shared_ptr<PgRequest>>;

std::size_t half_of(std::size_t all) {
    return std::max<std::size_t>(all / 2, 1);
}

}  // namespace

PgPoolObserver::~PgPoolObserver() = default;

class PgPool::Impl : public std::enable_shared_from_this<Impl> {
  public:
    Impl(const asio::any_io_executor& executor, Logger& log, PgPoolOptions options, PgPoolObserver* observer)
        : executor_(executor),
          log_(log),
          options_(std::move(options)),
          observer_(observer == nullptr ? &nobody_ : observer),
          queue_({half_of(options_.size), half_of(options_.max_waiting), options_.max_waiting}) {}

    void open_one();
    void close();
    // Until the request is answered, for a link: taken. False: it was not taken in time.
    asio::awaitable<bool> wait(std::shared_ptr<PgRequest> request);
    PgOutcome refusal() const;
    PgPoolFigures figures() const;

    const asio::any_io_executor& executor() const noexcept { return executor_; }
    const PgPoolOptions& options() const noexcept { return options_; }

  private:
    struct Slot {
        Slot(const asio::any_io_executor& executor, Logger& log, const PgSettings& settings)
            : session(executor, log, settings) {}
        PgSession session;
        RetryDelay delay{0.1, 5};
        bool starting = true;  // has not been connected yet
        bool busy = false;
    };

    // Takes the request out of the queue when who waits for it goes.
    struct Place {
        Impl& pool;
        const std::shared_ptr<PgRequest>& request;
        ~Place() { pool.queue_.remove(request->key, request); }
    };

    void call_somebody();
    asio::awaitable<void> work(std::shared_ptr<Slot> slot);
    asio::awaitable<void> connect(Slot& slot);
    asio::awaitable<void> serve(Slot& slot, std::shared_ptr<PgRequest> request);
    asio::awaitable<void> rest(const std::shared_ptr<Slot>& slot);

    asio::any_io_executor executor_;
    Logger& log_;
    PgPoolOptions options_;
    PgPoolObserver nobody_;
    PgPoolObserver* observer_;
    std::vector<std::shared_ptr<Slot>> slots_;
    std::vector<Slot*> resting_;  // the one that rests longest first
    PgRequests queue_;
    bool closed_ = false;
};

void PgPool::Impl::open_one() {
    slots_.push_back(std::make_shared<Slot>(executor_, log_, options_.connection));
    asio::co_spawn(
        executor_,
        [self = shared_from_this(), slot = slots_.back()]() -> asio::awaitable<void> {
            return self->work(slot);
        },
        asio::detached);
}

void PgPool::Impl::close() {
    closed_ = true;
    for (const auto& slot : slots_) {
        slot->session.abort();
    }
    for (const auto& request : queue_.clear()) {
        request->taken = true;
        request->task->finish(refusal());
    }
}

// The one that has worked last, whose statements are prepared; or one more connection, unless enough are on
// their way. Nobody where all who wait have what is theirs.
void PgPool::Impl::call_somebody() {
    const std::size_t ready = queue_.ready(options_.size);
    if (ready == 0) {
        return;
    }
    if (!resting_.empty()) {
        Slot* slot = resting_.back();
        resting_.pop_back();
        slot->session.wake();
        return;
    }
    const auto starting = std::ranges::count_if(slots_, [](const auto& slot) { return slot->starting; });
    if (slots_.size() < options_.size && static_cast<std::size_t>(starting) < ready) {
        open_one();
    }
}

PgOutcome PgPool::Impl::refusal() const {
    const bool connected = std::ranges::any_of(slots_, [](const auto& s) { return s->session.connected(); });
    PgOutcome outcome;
    outcome.status = connected ? PgOutcome::Status::overloaded : PgOutcome::Status::lost;
    outcome.message =
        connected ? "no connection became free in time" : "there is no connection to the database";
    for (const auto& slot : slots_) {
        const std::string& error = slot->session.last_error();
        if (!connected && (error == kServerIsStandby || error == kServerIsReadOnly)) {
            outcome.message = error;
        }
    }
    return outcome;
}

PgPoolFigures PgPool::Impl::figures() const {
    PgPoolFigures figures;
    for (const auto& slot : slots_) {
        figures.connected += slot->session.connected() ? 1 : 0;
        figures.busy += slot->busy ? 1 : 0;
    }
    figures.waiting = queue_.waiting();
    return figures;
}

asio::awaitable<bool> PgPool::Impl::wait(std::shared_ptr<PgRequest> request) {
    if (closed_ || !queue_.push(request->key, request)) {
        observer_->overloaded();
        co_return false;
    }
    const Place place{*this, request};
    call_somebody();
    const SteadyTime until = seconds_from_now(options_.wait_seconds);
    while (!request->taken) {
        co_await request->task->changed.wait(until);
        if (!request->taken && std::chrono::steady_clock::now() >= until) {
            observer_->overloaded();
            co_return false;
        }
    }
    while (!request->link && !request->task->over) {
        co_await request->task->changed.wait();
    }
    co_return true;
}

asio::awaitable<void> PgPool::Impl::work(std::shared_ptr<Slot> slot) {
    while (!closed_) {
        if (!slot->session.connected()) {
            // Nobody else may know that its client may have another.
            call_somebody();
            co_await connect(*slot);
        } else if (queue_.ready(1) == 0) {
            co_await rest(slot);
        } else if (!slot->session.look()) {
            // Nothing is sent on a connection that is known to be dead: who waits gets another.
            call_somebody();
        } else {
            const auto turn = queue_.take();
            co_await serve(*slot, turn->item);
            queue_.over(turn->key);
        }
    }
    slot->session.close();
}

asio::awaitable<void> PgPool::Impl::connect(Slot& slot) {
    if (!slot.starting && !closed_) {
        observer_->lost();
        log_.warn("the connection to the database is lost", {{"error", slot.session.last_error()}});
        slot.starting = true;
    }
    while (!closed_) {
        const bool connected = co_await slot.session.connect();
        if (connected) {
            slot.starting = false;
            slot.delay.reset();
            observer_->connected();
            log_.info("connected to the database");
            co_return;
        }
        if (closed_) {
            co_return;
        }
        observer_->lost();
        const double pause = slot.delay.next();
        log_.warn("no connection to the database",
                  {{"error", slot.session.last_error()}, {"retry_in_seconds", pause}});
        const SteadyTime until = seconds_from_now(pause);
        while (!closed_ && std::chrono::steady_clock::now() < until) {
            co_await slot.session.idle(until);
        }
    }
}

asio::awaitable<void> PgPool::Impl::rest(const std::shared_ptr<Slot>& slot) {
    resting_.push_back(slot.get());
    co_await slot->session.idle(SteadyTime::max());
    std::erase(resting_, slot.get());
}

asio::awaitable<void> PgPool::Impl::serve(Slot& slot, std::shared_ptr<PgRequest> request) {
    slot.busy = true;
    request->taken = true;
    observer_->waited(seconds_since(request->since));
    if (request->link) {
        request->link->wake = [session = &slot.session] { session->wake(); };
        request->task->changed.notify();
        co_await serve_lease(slot.session, request->link,
                             [this](double seconds) { observer_->ran(seconds); });
    } else {
        const SteadyTime from = std::chrono::steady_clock::now();
        PgOutcome outcome = co_await slot.session.run(request->task->pipeline, true);
        observer_->ran(seconds_since(from));
        request->task->finish(std::move(outcome));
        co_await slot.session.tidy();
    }
    slot.busy = false;
}

PgPool::PgPool(const asio::any_io_executor& executor, Logger& log, PgPoolOptions options,
               PgPoolObserver* observer)
    : impl_(std::make_shared<Impl>(executor, log, std::move(options), observer)) {
    impl_->open_one();
}

PgPool::~PgPool() {
    try {
        close();
    } catch (...) {  // no memory for what is to be said: who waits is not told
    }
}

asio::awaitable<PgOutcome> PgPool::run(std::vector<PgStatement> pipeline, std::string key) {
    const auto impl = impl_;
    auto request = std::make_shared<PgRequest>(impl->executor(), std::move(key));
    request->task->pipeline = std::move(pipeline);
    const bool served = co_await impl->wait(request);
    if (served) {
        co_return std::move(request->task->outcome);
    }
    co_return impl->refusal();
}

asio::awaitable<std::optional<PgPool::Lease>> PgPool::begin(std::string key) {
    const auto impl = impl_;
    auto request = std::make_shared<PgRequest>(impl->executor(), std::move(key));
    request->link = std::make_shared<Lease::Link>(impl->executor());
    // Made before the wait: who is cancelled between being served and being told gives the connection back.
    Lease lease(request->link);
    const bool served = co_await impl->wait(request);
    if (!served || request->task->over) {
        co_return std::nullopt;
    }
    co_return std::optional<Lease>(std::move(lease));
}

PgPoolFigures PgPool::figures() const {
    return impl_->figures();
}

const PgSettings& PgPool::settings() const {
    return impl_->options().connection;
}

void PgPool::close() {
    impl_->close();
}

}  // namespace sync_engine

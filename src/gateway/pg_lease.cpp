#include "gateway/pg_lease.hpp"

#include <cstring>
#include <utility>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace sync_engine {

namespace asio = boost::asio;

namespace {

PgOutcome lost(std::string message) {
    PgOutcome outcome;
    outcome.status = PgOutcome::Status::lost;
    outcome.message = std::move(message);
    return outcome;
}

// The server answers a COMMIT of a transaction that had failed with ROLLBACK.
PgOutcome check_commit(PgOutcome outcome) {
    if (!outcome.done()) {
        return outcome;
    }
    const PgResult last = std::move(outcome.results.back());
    outcome.results.pop_back();
    if (std::strcmp(PQcmdStatus(last.get()), "COMMIT") != 0) {
        outcome.status = PgOutcome::Status::failed;
        outcome.results.clear();
        outcome.sqlstate = "25P02";
        outcome.message = "the transaction was rolled back";
    }
    return outcome;
}

asio::awaitable<PgOutcome> serve(PgSession& session, const PgTask& task, bool is_first) {
    std::vector<PgStatement> pipeline;
    if (is_first) {
        pipeline.push_back({"BEGIN", {}});
    }
    pipeline.insert(pipeline.end(), task.pipeline.begin(), task.pipeline.end());
    if (task.commit) {
        pipeline.push_back({"COMMIT", {}});
    }
    PgOutcome outcome = co_await session.run(pipeline, is_first);
    if (outcome.done() && is_first) {
        outcome.results.erase(outcome.results.begin());
    }
    co_return task.commit ? check_commit(std::move(outcome)) : std::move(outcome);
}

asio::awaitable<PgOutcome> hand_over(std::shared_ptr<PgPool::Lease::Link> link,
                                     std::vector<PgStatement> pipeline, bool commit) {
    if (!link || link->over || link->dropped) {
        co_return lost("there is no connection any more");
    }
    auto task = std::make_shared<PgTask>(link->executor);
    task->pipeline = std::move(pipeline);
    task->commit = commit;
    link->task = task;
    link->wake();
    while (!task->over) {
        co_await task->changed.wait();
    }
    co_return std::move(task->outcome);
}

}  // namespace

asio::awaitable<void> Signal::wait(SteadyTime until) {
    timer_.expires_at(until);
    co_await timer_.async_wait(asio::as_tuple(asio::use_awaitable));
}

asio::awaitable<void> serve_lease(PgSession& session, std::shared_ptr<PgPool::Lease::Link> link,
                                  std::function<void(double)> ran) {
    bool is_first = true;
    bool ended = false;
    while (!ended) {
        if (const auto task = std::exchange(link->task, nullptr)) {
            const SteadyTime from = std::chrono::steady_clock::now();
            PgOutcome outcome = co_await serve(session, *task, is_first);
            ran(std::chrono::duration<double>(std::chrono::steady_clock::now() - from).count());
            is_first = false;
            ended = task->commit;
            task->finish(std::move(outcome));
        } else if (link->dropped || !session.connected()) {
            ended = true;
        } else {
            co_await session.idle(SteadyTime::max());
        }
    }
    link->over = true;
    link->wake = nullptr;
    if (link->task) {
        link->task->finish(lost("there is no connection any more"));
    }
    co_await session.tidy();
}

PgPool::Lease::Lease(std::shared_ptr<Link> link) : link_(std::move(link)) {}
PgPool::Lease::Lease(Lease&&) noexcept = default;

PgPool::Lease& PgPool::Lease::operator=(Lease&& other) noexcept {
    std::swap(link_, other.link_);
    return *this;
}

PgPool::Lease::~Lease() {
    if (link_) {
        link_->drop();
    }
}

asio::awaitable<PgOutcome> PgPool::Lease::run(std::vector<PgStatement> pipeline) {
    return hand_over(link_, std::move(pipeline), false);
}

asio::awaitable<PgOutcome> PgPool::Lease::commit(std::vector<PgStatement> last) {
    return hand_over(link_, std::move(last), true);
}

}  // namespace sync_engine

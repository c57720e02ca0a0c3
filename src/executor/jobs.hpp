#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "connectors/connector.hpp"
#include "executor/http_client.hpp"
#include "executor/metrics.hpp"
#include "executor/results.hpp"
#include "executor/store.hpp"
#include "executor/test_stops.hpp"
#include "process/log.hpp"
#include "process/redactor.hpp"

namespace sync_engine {

// The jobs this process holds, from their claim until the database has taken their result: waiting for a
// slot, running, or finished. Runs them: a connector's step, the HTTP request it asks for, the reply's
// reading.
class Jobs {
  public:
    using FindConnector = std::function<const Connector*(std::string_view name)>;
    using Finished = std::function<void(FinishedJob&&)>;

    struct Released {
        std::vector<std::int64_t> job_ids;
        std::vector<std::string> claim_tokens;
    };

    // What it works with; all borrowed.
    struct Tools {
        HttpClient& http;
        SecretResolver& secrets;
        const Redactor& redactor;
        Logger& log;
        Metrics& metrics;
        TestStops& stops;
    };

    // `finished` is called once for each job that comes to a result.
    Jobs(const Tools& tools, FindConnector find_connector, std::size_t concurrency, Finished finished);

    void add(std::vector<ClaimedJob> claimed);

    // Starts what waits as far as slots are free. Jobs that need no request are through when it returns.
    void start_waiting();

    std::vector<std::int64_t> held_ids() const;
    std::size_t held() const noexcept { return held_.size(); }
    std::size_t waiting() const noexcept { return waiting_.size(); }
    std::size_t running() const noexcept { return running_; }
    std::size_t concurrency() const noexcept { return concurrency_; }
    // Mean seconds of recent attempts; 0 before the first.
    double mean_run_seconds() const noexcept { return mean_run_seconds_; }

    // Gives up a job that the database took away; aborts its request.
    void drop(std::int64_t job_id);

    // Whether the job is held and was so at that time.
    bool held_since(std::int64_t job_id, Clock::time_point when) const;
    // Whether the job is held and has come to a result.
    bool is_finished(std::int64_t job_id) const;

    // Gives up those that have no result: the ones without a slot since before that time, or all. Aborts
    // their requests.
    Released give_up_waiting(Clock::time_point before);
    Released give_up_unfinished();

    // The database's word on a result that was sent: logged, counted, and the job is forgotten.
    void ended(const FinishedJob& job, std::string_view outcome, std::string_view detail);

  private:
    enum class Stage { waiting, running, finished };

    struct Held {
        ClaimedJob claimed;
        Stage stage = Stage::waiting;
        ApiRequest request{};
        HttpClient::TransferId transfer = 0;
        Clock::time_point added{};
        Clock::time_point started{};
        double seconds = 0;
    };

    void start(Held& held);
    void send(Held& held, ApiRequest request);
    void received(std::int64_t job_id, const HttpResponse& response);
    void finish(Held& held, Outcome result);
    Released give_up(const std::function<bool(const Held&)>& which);
    void count_in_flight();

    Tools tools_;
    FindConnector find_connector_;
    std::size_t concurrency_;
    Finished finished_;
    std::unordered_map<std::int64_t, Held> held_;
    std::deque<std::int64_t> waiting_;
    std::size_t running_ = 0;
    double mean_run_seconds_ = 0;
};

}  // namespace sync_engine

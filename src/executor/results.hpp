#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "connectors/connector.hpp"
#include "executor/database.hpp"

namespace sync_engine {

// How one claimed job came out, not yet told to the database.
struct FinishedJob {
    std::int64_t job_id = 0;
    std::string claim_token;
    Outcome result;
};

// Jobs that are told to the database together, in one transaction.
struct ResultBatch {
    std::vector<FinishedJob> jobs;
    std::size_t bytes = 0;
};

// About how much the database will have to read for it, in bytes.
std::size_t result_size(const FinishedJob& job);

// A page above these limits is landed in parts.
inline constexpr std::size_t kChunkSignals = 1000;
inline constexpr std::size_t kChunkBytes = 1'000'000;
bool is_big(const FinishedJob& job);

// The argument of complete_jobs.
std::string results_json(const ResultBatch& batch);

// What tells the database of the batch: one complete_jobs call, which answers for those jobs alone of which
// there is more to say than that they were completed, or, for a big page, which is always alone, a
// transaction of add_signals calls of at most kChunkSignals or kChunkBytes each (a longer signal goes alone)
// and complete_job, which is rolled back when the job's token is stale.
std::vector<Statement> result_script(const ResultBatch& batch);

// Results that wait for the database, cut into batches: at most `max_jobs` and about `max_bytes` each, big
// pages alone.
class ResultQueue {
  public:
    explicit ResultQueue(std::size_t max_jobs, std::size_t max_bytes = kChunkBytes)
        : max_jobs_(max_jobs), max_bytes_(max_bytes) {}

    void push(FinishedJob job);

    // To be sent before everything else and exactly as it is: whether it took effect is in doubt.
    void push_again(ResultBatch batch);

    // A batch that the database refused as a whole: each half is sent on its own.
    void push_halves(ResultBatch batch);

    // The next batch; empty when nothing waits.
    ResultBatch pop();

    // Forgets a job's result. False when it was not waiting here.
    bool remove(std::int64_t job_id);

    std::size_t size() const noexcept { return jobs_.size() + again_jobs_; }
    bool empty() const noexcept { return size() == 0; }
    bool in_doubt() const noexcept { return !again_.empty(); }
    // Whether a batch as large as allowed is waiting.
    bool full() const noexcept { return jobs_.size() >= max_jobs_ || bytes_ >= max_bytes_; }

  private:
    std::size_t max_jobs_;
    std::size_t max_bytes_;
    std::deque<FinishedJob> jobs_;
    std::size_t bytes_ = 0;
    std::deque<ResultBatch> again_;
    std::size_t again_jobs_ = 0;
};

}  // namespace sync_engine

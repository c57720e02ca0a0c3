#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "notify/delivery.hpp"

namespace sync_engine {

// How one claimed delivery came out, not yet told to the database.
struct FinishedDelivery {
    std::int64_t delivery_id = 0;
    std::string claim_token;
    DeliveryOutcome outcome;
    double seconds = 0;  // that the attempt took
};

// Deliveries that are told to the database together.
using DeliveryBatch = std::vector<FinishedDelivery>;

// The argument of complete_deliveries; texts are cut to what the database keeps, and are UTF-8 whatever came.
std::string delivery_results_json(const DeliveryBatch& batch);

// What takes the place of a result that the database refuses; is_replacement recognises it.
FinishedDelivery replacement_for(const FinishedDelivery& refused);
bool is_replacement(const FinishedDelivery& finished);

// Results that wait for the database, in batches of at most `max_batch`.
class DeliveryResultQueue {
  public:
    explicit DeliveryResultQueue(std::size_t max_batch) : max_batch_(max_batch) {}

    void push(FinishedDelivery finished) { waiting_.push_back(std::move(finished)); }

    // To be sent before everything else and exactly as it is: whether it took effect is in doubt.
    void push_again(DeliveryBatch batch) { again_.push_front(std::move(batch)); }

    // A batch that the database refused as a whole: each half is sent on its own.
    void push_halves(DeliveryBatch batch);

    // The next batch; empty when nothing waits.
    DeliveryBatch pop();

    std::size_t size() const noexcept;
    bool empty() const noexcept { return waiting_.empty() && again_.empty(); }
    bool in_doubt() const noexcept { return !again_.empty(); }
    bool full() const noexcept { return waiting_.size() >= max_batch_; }

  private:
    std::size_t max_batch_;
    std::deque<FinishedDelivery> waiting_;
    std::deque<DeliveryBatch> again_;
};

}  // namespace sync_engine

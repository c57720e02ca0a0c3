#pragma once

#include <algorithm>
#include <random>

namespace sync_engine {

// Growing pauses between attempts of one thing: doubled each time up to a cap, and drawn from [half, full] so
// that many executors that lost the same server do not come back in step.
class RetryDelay {
  public:
    // Seconds, 0 < first <= longest.
    RetryDelay(double first, double longest) : first_(first), longest_(longest), next_(first) {}

    double next() {
        const double full = next_;
        next_ = std::min(next_ * 2, longest_);
        return std::uniform_real_distribution<double>(full / 2, full)(random_);
    }

    void reset() { next_ = first_; }

  private:
    double first_;
    double longest_;
    double next_;
    std::minstd_rand random_{std::random_device{}()};
};

}  // namespace sync_engine

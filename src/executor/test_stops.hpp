#pragma once

#include <charconv>
#include <csignal>
#include <string>
#include <string_view>

namespace sync_engine {

// For the tests of crash safety: kills the process with SIGKILL when it comes to the step that --test-stop-at
// names, "step" or "step:N" for the Nth time.
class TestStops {
  public:
    explicit TestStops(std::string_view stop_at) : step_(stop_at.substr(0, stop_at.find(':'))) {
        if (const std::size_t colon = stop_at.find(':'); colon != std::string_view::npos) {
            std::from_chars(stop_at.data() + colon + 1, stop_at.data() + stop_at.size(), left_);
        }
    }

    void reach(std::string_view step) noexcept {
        if (!step_.empty() && step == step_ && --left_ == 0) {
            raise(SIGKILL);
        }
    }

  private:
    std::string step_;
    int left_ = 1;
};

}  // namespace sync_engine

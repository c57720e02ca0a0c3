#pragma once

#include <algorithm>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "executor/database.hpp"

namespace sync_engine {

// The connections on which the runner talks to the database. Any of them can do any of its work, one
// statement or transaction at a time each, so that one claims while another completes.
class Lanes {
  public:
    // At least one; borrowed.
    explicit Lanes(std::vector<Database*> lanes) : lanes_(std::move(lanes)) {}

    void open() {
        for (Database* lane : lanes_) {
            lane->open();
        }
    }

    // Called whenever one of them is up again.
    void on_connected(const std::function<void()>& callback) {
        for (Database* lane : lanes_) {
            lane->on_connected(callback);
        }
    }

    // The first that is up and has nothing to do: with little to do, always the same one, whose caches are
    // warm.
    Database* idle() const noexcept {
        const auto found =
            std::find_if(lanes_.begin(), lanes_.end(), [](auto* lane) { return lane->idle(); });
        return found == lanes_.end() ? nullptr : *found;
    }

    bool connected() const noexcept {
        return std::any_of(lanes_.begin(), lanes_.end(), [](auto* lane) { return lane->connected(); });
    }

    // Whether the database still owes an answer.
    bool busy() const noexcept {
        return std::any_of(lanes_.begin(), lanes_.end(),
                           [](auto* lane) { return lane->connected() && !lane->idle(); });
    }

    // What keeps the first from being connected.
    const std::string& last_error() const noexcept { return lanes_.front()->last_error(); }

  private:
    std::vector<Database*> lanes_;
};

}  // namespace sync_engine

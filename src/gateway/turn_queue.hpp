#pragma once

#include <algorithm>
#include <cstddef>
#include <deque>
#include <iterator>
#include <list>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>

namespace sync_engine {

// Who waits for one of some connections. Each client, by its key, has a line of its own, first come first
// served, and the lines are served in turn: whoever asks much waits behind himself, not before others. No
// client has more than its share of the connections at a time, for what all of them are busy with cannot be
// taken back. The empty key is of nobody in particular, and has no such share.
template <class Item>
class TurnQueue {
  public:
    struct Limits {
        std::size_t under_way = 1;     // at a time, of one key
        std::size_t waiting_each = 1;  // of one key
        std::size_t waiting = 1;       // of all
    };

    struct Turn {
        std::string key;
        Item item;
    };

    explicit TurnQueue(const Limits& limits) : limits_(limits) {}

    // False: there are too many already.
    bool push(const std::string& key, Item item) {
        const auto found = lines_.find(key);
        const std::size_t own = found == lines_.end() ? 0 : found->second.waiting.size();
        if (waiting_ >= limits_.waiting || (!key.empty() && own >= limits_.waiting_each)) {
            return false;
        }
        Line& line = lines_[key];
        if (line.waiting.empty()) {
            line.place = order_.insert(order_.end(), key);
        }
        line.waiting.push_back(std::move(item));
        ++waiting_;
        return true;
    }

    // The next that may be served, which is under way from then on, until over().
    std::optional<Turn> take() {
        // Few are passed over: their shares take up all connections.
        for (const std::string& key : order_) {
            Line& line = lines_.find(key)->second;
            if (line.under_way < share(key)) {
                Turn turn{key, std::move(line.waiting.front())};
                ++line.under_way;
                line.waiting.pop_front();
                --waiting_;
                order_.splice(order_.end(), order_, line.place);
                leave_if_nobody(turn.key);
                return turn;
            }
        }
        return std::nullopt;
    }

    // One of that key is under way no more.
    void over(const std::string& key) {
        --lines_.find(key)->second.under_way;
        forget_if_done(key);
    }

    // It waits no more, if it did.
    void remove(const std::string& key, const Item& item) {
        const auto found = lines_.find(key);
        if (found == lines_.end()) {
            return;
        }
        auto& waiting = found->second.waiting;
        const auto place = std::find(waiting.begin(), waiting.end(), item);
        if (place != waiting.end()) {
            waiting.erase(place);
            --waiting_;
            leave_if_nobody(key);
            forget_if_done(key);
        }
    }

    // How many could be served at once if there were connections, counted up to `most`.
    std::size_t ready(std::size_t most) const {
        std::size_t count = 0;
        for (const std::string& key : order_) {
            if (count >= most) {
                break;
            }
            const Line& line = lines_.find(key)->second;
            count += std::min(line.waiting.size(), share(key) - std::min(share(key), line.under_way));
        }
        return std::min(count, most);
    }

    std::size_t waiting() const noexcept { return waiting_; }

    // All who wait, who do so no more.
    std::deque<Item> clear() {
        std::deque<Item> all;
        for (const std::string& key : std::exchange(order_, {})) {
            auto& waiting = lines_.find(key)->second.waiting;
            std::move(waiting.begin(), waiting.end(), std::back_inserter(all));
            waiting.clear();
            forget_if_done(key);
        }
        waiting_ = 0;
        return all;
    }

  private:
    struct Line {
        std::deque<Item> waiting;
        std::size_t under_way = 0;
        std::list<std::string>::iterator place;  // in order_, while somebody waits
    };

    std::size_t share(const std::string& key) const {
        return key.empty() ? static_cast<std::size_t>(-1) : limits_.under_way;
    }

    void leave_if_nobody(const std::string& key) {
        const Line& line = lines_.find(key)->second;
        if (line.waiting.empty()) {
            order_.erase(line.place);
        }
    }

    void forget_if_done(const std::string& key) {
        const auto found = lines_.find(key);
        if (found->second.waiting.empty() && found->second.under_way == 0) {
            lines_.erase(found);
        }
    }

    Limits limits_;
    std::unordered_map<std::string, Line> lines_;  // of the keys that wait or are under way
    std::list<std::string> order_;                 // of the keys that wait, the next one first
    std::size_t waiting_ = 0;
};

}  // namespace sync_engine

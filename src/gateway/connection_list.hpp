#pragma once

#include <cstddef>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "process/ip_address.hpp"

namespace sync_engine {

class Connection;

// The connections that there are, and how many each client has.
class ConnectionList {
  public:
    void add(Connection& connection, const IpAddress& peer);
    void remove(Connection& connection, const IpAddress& peer) noexcept;

    std::size_t size() const noexcept { return all_.size(); }
    std::size_t of_client(const IpAddress& peer) const;

    // Calls `visit` with each; connections may end meanwhile.
    template <class Visit>
    void for_each(Visit visit) const {
        const auto copy = all_;
        for (Connection* connection : copy) {
            if (all_.contains(connection)) {
                visit(*connection);
            }
        }
    }

  private:
    std::unordered_set<Connection*> all_;
    std::unordered_map<std::string, std::size_t> by_client_;
};

}  // namespace sync_engine

#include "gateway/connection_list.hpp"

#include "gateway/client_address.hpp"

namespace sync_engine {

void ConnectionList::add(Connection& connection, const IpAddress& peer) {
    all_.insert(&connection);
    ++by_client_[client_key(peer)];
}

void ConnectionList::remove(Connection& connection, const IpAddress& peer) noexcept {
    all_.erase(&connection);
    const auto client = by_client_.find(client_key(peer));
    if (client != by_client_.end() && --client->second == 0) {
        by_client_.erase(client);
    }
}

std::size_t ConnectionList::of_client(const IpAddress& peer) const {
    const auto client = by_client_.find(client_key(peer));
    return client == by_client_.end() ? 0 : client->second;
}

}  // namespace sync_engine

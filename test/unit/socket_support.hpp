#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace sync_engine {

// Serves one connection on the loopback: before each answer it reads up to the marker that goes with it, and
// at the end it keeps the connection open until the other side closes it. What was read is in `seen` after
// join().
class ScriptedServer {
  public:
    // (what to wait for, what to answer then); nothing to wait for: answers at once.
    using Script = std::vector<std::pair<std::string, std::string>>;

    // `hangs_up`: closes the connection itself at the end.
    explicit ScriptedServer(Script script, bool hangs_up = false)
        : listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t length = sizeof(address);
        auto* generic = reinterpret_cast<sockaddr*>(&address);
        if (bind(listener_, generic, length) != 0 || listen(listener_, 1) != 0 ||
            getsockname(listener_, generic, &length) != 0) {
            return;
        }
        port_ = ntohs(address.sin_port);
        thread_ = std::thread([this, hangs_up, script = std::move(script)] { serve(script, hangs_up); });
    }
    ScriptedServer(const ScriptedServer&) = delete;
    ScriptedServer& operator=(const ScriptedServer&) = delete;
    ~ScriptedServer() {
        shutdown(peer_, SHUT_RDWR);
        join();
    }

    int port() const noexcept { return port_; }

    // Whether all of the script has been gone through.
    bool through() const noexcept { return through_; }

    // Waits until the client is gone; what it sent.
    const std::string& join() {
        if (thread_.joinable()) {
            shutdown(listener_, SHUT_RDWR);  // where nobody came
            thread_.join();
            close(listener_);
            close(peer_);
        }
        return seen_;
    }

  private:
    void serve(const Script& script, bool hangs_up) {
        const int peer = accept(listener_, nullptr, nullptr);
        peer_ = peer;
        if (peer < 0) {
            return;
        }
        std::size_t from = 0;
        bool open = true;
        for (const auto& [marker, answer] : script) {
            while (open && seen_.find(marker, from) == std::string::npos) {
                from = std::max(from, seen_.size() - std::min(seen_.size(), marker.size()));
                open = read_more(peer);
            }
            from = seen_.size();
            open = open && send(peer, answer.data(), answer.size(), MSG_NOSIGNAL) >= 0;
        }
        through_ = true;
        while (!hangs_up && open && read_more(peer)) {
        }
        shutdown(peer, SHUT_RDWR);
    }

    bool read_more(int peer) {
        std::array<char, 4096> buffer{};
        const ssize_t length = recv(peer, buffer.data(), buffer.size(), 0);
        seen_.append(buffer.data(), length > 0 ? static_cast<std::size_t>(length) : 0);
        return length > 0;
    }

    int listener_;
    std::atomic<int> peer_ = -1;
    std::atomic<bool> through_ = false;
    int port_ = 0;
    std::string seen_;
    std::thread thread_;
};

}  // namespace sync_engine

#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "connectors/connector.hpp"
#include "executor/address_policy.hpp"
#include "executor/curl_handles.hpp"
#include "executor/event_loop.hpp"

namespace sync_engine {

struct HttpSettings {
    std::size_t max_body_bytes = 0;  // of any reply, whatever its request allows
    std::string user_agent;
    std::string ca_file;  // empty: the system's
    // A connection of its own for each request, closed after it: none is shared with requests to which
    // another policy applies.
    bool fresh_connections = false;
};

// Any number of HTTP requests at once. Only http and https, no redirects, proxies, cookies or .netrc; the
// address that is really connected to has to pass the policy. Errors come back as HttpResponse::error_code,
// with texts that hold neither URL nor header, and with one text for whatever kept a connection from being
// made.
class HttpClient {
  public:
    using Done = std::function<void(HttpResponse&&)>;
    using TransferId = std::uint64_t;  // never 0

    // Borrows all three, which must outlive it.
    HttpClient(EventLoop& loop, const AddressPolicy& policy, HttpSettings settings);
    ~HttpClient();
    HttpClient(const HttpClient&) = delete;
    HttpClient& operator=(const HttpClient&) = delete;

    // `done` is called once, later, from the event loop; not after cancel().
    TransferId start(const ApiRequest& request, Done done);

    // Of a transfer that has ended: no effect.
    void cancel(TransferId id);

    std::size_t running() const noexcept { return transfers_.size(); }

  private:
    struct Transfer;

    CurlEasy take_handle();
    void configure(Transfer& transfer, const ApiRequest& request);
    void finished(Transfer& transfer, CURLcode code);
    void settle(TransferId id);
    void deliver(TransferId id, HttpResponse response);
    static curl_socket_t open_socket(void* transfer, curlsocktype purpose, curl_sockaddr* address) noexcept;
    static std::size_t on_body(char* data, std::size_t size, std::size_t count, void* transfer) noexcept;
    static std::size_t on_header(char* data, std::size_t size, std::size_t count, void* transfer) noexcept;
    static bool take_header(Transfer& transfer, std::string_view line);

    EventLoop& loop_;
    const AddressPolicy& policy_;
    HttpSettings settings_;
    TransferId next_id_ = 1;
    std::unordered_map<TransferId, std::unique_ptr<Transfer>> transfers_;
    std::vector<CurlEasy> spare_;
};

}  // namespace sync_engine

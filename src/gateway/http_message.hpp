#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sync_engine {

class EventSource;

// What a client asks, read in full and found to be well formed.
struct HttpRequest {
    std::string method;                                        // "GET"
    std::string target;                                        // as received: "/api/v2/x?y=1"
    std::string path;                                          // up to '?', as received (percent-encoded)
    std::string query;                                         // after '?'
    std::vector<std::pair<std::string, std::string>> headers;  // names in lower case, order kept
    std::string body;
    std::string client;         // address of the client, by a trusted proxy's word where one forwards
    bool secure = false;        // came by TLS, by a trusted proxy's word where one forwards
    bool hides_client = false;  // came through a proxy that is not believed, or does not say for whom
    std::string request_id;     // the client's own if it is 1..64 of [A-Za-z0-9._-], else made

    // The value of the first header of that name; null: there is none.
    const std::string* header(std::string_view lower_case_name) const;
};

struct HttpReply {
    unsigned status = 200;
    std::vector<std::pair<std::string, std::string>> headers;
    std::string body;
    std::shared_ptr<EventSource> events;  // set: an endless text/event-stream, of which body is the beginning
};

}  // namespace sync_engine

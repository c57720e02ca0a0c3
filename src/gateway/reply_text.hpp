#pragma once

// Replies as they go over the wire.

#include <ctime>
#include <string>
#include <string_view>

#include "gateway/http_message.hpp"

namespace sync_engine {

struct ReplyContext {
    bool is_http_1_0 = false;
    bool keep_alive = false;
    bool is_head = false;  // the request was HEAD: the header as of GET, and no body
    bool secure = false;
    std::string_view request_id;
    std::time_t now = 0;
};

// "Sun, 06 Nov 1994 08:49:37 GMT"
std::string http_date(std::time_t time);

// Status line and header with its empty last line. Adds Date, X-Request-Id, X-Content-Type-Options,
// Cache-Control: no-store unless the reply has one, Strict-Transport-Security where the client came by TLS,
// and what ends the body. A header of the reply whose name or value would break the line is left out, as are
// those that are the server's own business.
std::string reply_head(const HttpReply& reply, const ReplyContext& context);

// Whether a reply of this status has a body.
bool may_have_body(unsigned status);

// One chunk of a chunked body; of nothing: its end.
std::string chunk(std::string_view data);

}  // namespace sync_engine

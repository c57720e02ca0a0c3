#pragma once

// What the statements of an operation return, as replies. The database writes the JSON.

#include <libpq-fe.h>

#include "gateway/api/operation_request.hpp"
#include "gateway/http_message.hpp"
#include "process/pg_values.hpp"

namespace sync_engine {

// Of rows (key, item), one more than asked for where there is another page: {"items": [...], "next": CURSOR
// or null}.
HttpReply list_reply(const PGresult* result, const OperationRequest& request);

// Of one row with columns by name: body (JSON), and where there are such, status, version (which becomes the
// ETag, and 304 where the client has that one) and location. `status`: unless a column tells.
HttpReply object_reply(const PGresult* result, unsigned status, const HttpRequest& request);

// Of (replayed, status, location, etag, body).
HttpReply replayed_reply(const Row& kept, std::string body);

// Those headers of a reply that belong to what was done, as a JSON object.
std::string kept_headers(const HttpReply& reply);

}  // namespace sync_engine

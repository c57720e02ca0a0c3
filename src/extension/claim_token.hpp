// Claim tokens. A token tells one claim of a job from another and is no secret: 40 of its bits are drawn anew
// by each claim. The others say where the rows of the job's connection lay, so that a completion need not
// look them up by index. That is a hint: it is good only where the row that is found there is the right one.
#pragma once

#include "extension/compat.hpp"

extern "C" {
#include "storage/itemptr.h"
#include "utils/uuid.h"
}

namespace sync_engine {

// Rows of a connection, in connections and connection_state.
struct ConnectionPlaces {
    ItemPointerData connection;
    ItemPointerData state;
};

// A UUID of version 4.
pg_uuid_t make_claim_token(const ConnectionPlaces& places);

// Whatever the token says: one that was not made here names any place.
ConnectionPlaces places_in(const pg_uuid_t& token);

}  // namespace sync_engine

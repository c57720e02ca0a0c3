#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "executor/database.hpp"
#include "notify/delivery.hpp"

namespace sync_engine {

// The calls of the schema sync that deliveries take: statements, and how their answers read. Parsers throw
// std::runtime_error when the answer does not have the shape that the protocol promises.

struct ClaimedDelivery {
    Delivery delivery;
    std::string claim_token;
};

// `email`: whether mails can be sent, too.
Statement claim_deliveries_statement(const std::string& executor, std::size_t max_deliveries, bool email);
std::vector<ClaimedDelivery> parse_claimed_deliveries(const PGresult* result);

Statement complete_deliveries_statement(std::string results_json);
struct DeliveryAnswer {
    std::int64_t delivery_id = 0;
    std::string outcome;  // delivered, retried, failed, repeated, stale, rejected
    std::string detail;
};
std::vector<DeliveryAnswer> parse_delivery_answers(const PGresult* result);

Statement release_deliveries_statement(const std::string& executor, const std::vector<std::int64_t>& ids,
                                       const std::vector<std::string>& claim_tokens);

// Seconds from now, at most a day, negative when already; nothing when nothing waits.
Statement next_delivery_statement(bool email);
std::optional<double> parse_next_delivery(const PGresult* result);

// Whether the server's error means that its extension is older than notifications.
bool lacks_deliveries(std::string_view sqlstate);

}  // namespace sync_engine

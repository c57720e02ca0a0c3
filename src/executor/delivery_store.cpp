#include "executor/delivery_store.hpp"

#include <algorithm>
#include <utility>

#include "process/pg_values.hpp"

namespace sync_engine {

namespace {

std::string channels(bool email) {
    return email ? "{email,webhook}" : "{webhook}";
}

std::vector<std::string> words(const std::string& text) {
    std::vector<std::string> out;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = std::min(text.find(' ', at), text.size());
        if (end > at) {
            out.push_back(text.substr(at, end - at));
        }
        at = end + 1;
    }
    return out;
}

}  // namespace

Statement claim_deliveries_statement(const std::string& executor, std::size_t max_deliveries, bool email) {
    // Unlike a claim of jobs it waits for the disk: it makes messages of events, whose ids have to outlive a
    // crash of the server once they have been sent. Secrets are base64, so that a blank separates them.
    return {
        "SELECT delivery_id, claim_token, tenant_id, notification_id, channel, recipient, message_id, "
        "attempt, "
        "payload::text, array_to_string(secrets, ' '), unsubscribe "
        "FROM sync.claim_deliveries($1, $2::int, $3::text[])",
        {executor, std::to_string(max_deliveries), channels(email)}};
}

std::vector<ClaimedDelivery> parse_claimed_deliveries(const PGresult* result) {
    std::vector<ClaimedDelivery> claimed;
    const int rows = PQntuples(result);
    claimed.reserve(static_cast<std::size_t>(rows));
    for (int i = 0; i < rows; ++i) {
        const Row row(result, i);
        ClaimedDelivery one{};
        one.delivery.delivery_id = row.integer(0);
        one.claim_token = row.text(1);
        one.delivery.tenant_id = row.text(2);
        one.delivery.notification_id = row.is_null(3) ? 0 : row.integer(3);
        one.delivery.channel = row.text(4);
        one.delivery.recipient = row.text(5);
        one.delivery.message_id = row.text(6);
        one.delivery.attempt = static_cast<int>(row.integer(7));
        one.delivery.payload = row.text(8);
        one.delivery.secrets = words(row.text(9));
        one.delivery.unsubscribe = row.text(10);
        claimed.push_back(std::move(one));
    }
    return claimed;
}

Statement complete_deliveries_statement(std::string results_json) {
    return {"SELECT delivery_id, outcome, detail FROM sync.complete_deliveries($1::jsonb)",
            {std::move(results_json)}};
}

std::vector<DeliveryAnswer> parse_delivery_answers(const PGresult* result) {
    std::vector<DeliveryAnswer> answers;
    for (int i = 0; i < PQntuples(result); ++i) {
        const Row row(result, i);
        if (!row.is_null(0)) {
            answers.push_back({row.integer(0), row.text(1), row.text(2)});
        }
    }
    return answers;
}

Statement release_deliveries_statement(const std::string& executor, const std::vector<std::int64_t>& ids,
                                       const std::vector<std::string>& claim_tokens) {
    return {"SELECT sync.release_deliveries($1, $2::bigint[], $3::uuid[])",
            {executor, id_array(ids),
             array_literal(claim_tokens, [](const std::string& token) { return token; })}};
}

Statement next_delivery_statement(bool email) {
    return {
        "SELECT CASE WHEN n IS NOT NULL THEN "
        "extract(epoch FROM least(greatest(n, now()), now() + interval '1 day') - clock_timestamp())::float8 "
        "END "
        "FROM sync.next_delivery_at($1::text[]) n",
        {channels(email)}};
}

std::optional<double> parse_next_delivery(const PGresult* result) {
    const Row row = only_row(result, 1);
    return row.is_null(0) ? std::nullopt : std::optional(row.real(0));
}

bool lacks_deliveries(std::string_view sqlstate) {
    return sqlstate == "42883";  // undefined_function
}

}  // namespace sync_engine

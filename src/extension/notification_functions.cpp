// What notifications need of the arithmetic and the parsing in src/core.
#include <optional>
#include <string_view>

#include "core/delivery_retry.hpp"
#include "core/email_address.hpp"
#include "core/empty_runs.hpp"
#include "core/url.hpp"
#include "extension/boundary.hpp"
#include "extension/cron_call.hpp"

using namespace sync_engine;

namespace {

// Static text, so that nothing with a destructor is alive when it is returned to the server.
const char* webhook_url_fault(std::string_view text, bool http_allowed) {
    const std::optional<Url> url = parse_url(text);
    if (!url) {
        return "is not a plain https URL";
    }
    if (url->scheme != "https" && !http_allowed) {
        return "is not https";
    }
    return nullptr;
}

}  // namespace

SYNC_ENGINE_FUNCTION(email_fault) {
    const std::string_view fault = email_fault(view_of(PG_GETARG_TEXT_PP(0)));
    if (fault.empty()) {
        PG_RETURN_NULL();
    }
    PG_RETURN_TEXT_P(cstring_to_text_with_len(fault.data(), static_cast<int>(fault.size())));
}

SYNC_ENGINE_FUNCTION(webhook_url_fault) {
    const char* fault = webhook_url_fault(view_of(PG_GETARG_TEXT_PP(0)), PG_GETARG_BOOL(1));
    if (fault == nullptr) {
        PG_RETURN_NULL();
    }
    PG_RETURN_TEXT_P(cstring_to_text(fault));
}

SYNC_ENGINE_FUNCTION(delivery_wait) {
    if (PG_ARGISNULL(0)) {
        PG_RETURN_NULL();
    }
    const std::optional<double> hint = PG_ARGISNULL(1) ? std::nullopt : std::optional(PG_GETARG_FLOAT8(1));
    const std::optional<double> wait =
        delivery_wait(PG_GETARG_INT32(0), hint, static_cast<double>(random_bits() >> 11U) * 0x1p-53);
    if (!wait) {
        PG_RETURN_NULL();
    }
    PG_RETURN_FLOAT8(*wait);
}

SYNC_ENGINE_FUNCTION(empty_runs_are_odd) {
    PG_RETURN_BOOL(empty_runs_are_odd({PG_GETARG_INT64(0), PG_GETARG_INT64(1)}, PG_GETARG_INT64(2)));
}

// Time, interval, jitter and backoff as SQL functions; the arithmetic itself is in src/core.
#include <cmath>
#include <limits>
#include <optional>

#include "core/backoff.hpp"
#include "core/interval.hpp"
#include "core/request_rate.hpp"
#include "core/schedule.hpp"
#include "core/time.hpp"
#include "extension/guc.hpp"
#include "extension/policy.hpp"
#include "extension/boundary.hpp"
#include "extension/records.hpp"

extern "C" {
#include "utils/jsonb.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"
}

using namespace sync_engine;

namespace {

static_assert(kTimestampMin == MIN_TIMESTAMP && kTimestampEnd == END_TIMESTAMP,
              "core's range is the server's");

std::optional<TimestampUs> optional_time(FunctionCallInfo fcinfo, int argument) {
    return PG_ARGISNULL(argument) ? std::nullopt
                                  : std::optional<TimestampUs>(PG_GETARG_TIMESTAMPTZ(argument));
}

void set_time(const std::optional<TimestampUs>& time, Datum* value, bool* null) {
    *null = !time.has_value();
    *value = TimestampTzGetDatum(time.value_or(0));
}

Datum verdict_text(Verdict verdict) {
    switch (verdict) {
        case Verdict::bootstrap:
            return PointerGetDatum(cstring_to_text("bootstrap"));
        case Verdict::look_ahead:
            return PointerGetDatum(cstring_to_text("look_ahead"));
        case Verdict::catch_up:
            return PointerGetDatum(cstring_to_text("catch_up"));
        case Verdict::not_yet:
            break;
    }
    return PointerGetDatum(cstring_to_text("not_yet"));
}

// The override as the core takes it: nothing where none is meant, NaN where it is not a whole number. Decided
// on the numeric itself, since 900 and a fraction too small for a double are not the same.
std::optional<double> decode_override(const JsonbValue& value) {
    if (value.type == jbvNull) {
        return std::nullopt;
    }
    if (value.type != jbvNumeric) {
        return std::numeric_limits<double>::quiet_NaN();
    }
    bool out_of_range = false;
    const int32 whole = numeric_int4_opt_error(value.val.numeric, &out_of_range);
    const Datum number = NumericGetDatum(value.val.numeric);
    if (out_of_range || DatumGetInt32(DirectFunctionCall1(numeric_min_scale, number)) > 0) {
        return std::numeric_limits<double>::quiet_NaN();
    }
    return static_cast<double>(whole);
}

std::optional<double> decode_override(Jsonb* json) {
    JsonbValue value;
    if (!JsonbExtractScalar(&json->root, &value)) {
        return std::numeric_limits<double>::quiet_NaN();
    }
    return decode_override(value);
}

JsonbValue* find_key(JsonbContainer* object, const char* key) {
    return getKeyJsonValueFromContainer(object, key, static_cast<int>(strlen(key)), nullptr);
}

// metadata.sync; null where there is no such object.
JsonbContainer* own_object(Jsonb* metadata) {
    JsonbValue* own = JB_ROOT_IS_OBJECT(metadata) ? find_key(&metadata->root, "sync") : nullptr;
    return own != nullptr && own->type == jbvBinary && JsonContainerIsObject(own->val.binary.data)
               ? own->val.binary.data
               : nullptr;
}

std::optional<double> override_in(JsonbContainer* own) {
    const JsonbValue* value = own == nullptr ? nullptr : find_key(own, "interval_seconds");
    return value == nullptr ? std::nullopt : decode_override(*value);
}

std::optional<TimestampUs> activation_in(JsonbContainer* own) {
    const JsonbValue* value = own == nullptr ? nullptr : find_key(own, "first_activated_at");
    if (value == nullptr || value->type != jbvString) {
        return std::nullopt;
    }
    return parse_utc({value->val.string.val, static_cast<std::size_t>(value->val.string.len)});
}

IntervalLimits configured_limits() {
    return {guc::default_interval_seconds, kMinIntervalSeconds, guc::max_overridden_interval_seconds};
}

JitterBounds configured_bounds(int32 base_seconds) {
    const JitterSettings settings = jitter_settings();
    return jitter_bounds(base_seconds, settings.pct_min, settings.pct_max);
}

}  // namespace

TickPlan sync_engine::plan_tick(Jsonb* metadata, const std::optional<TimestampUs>& last_finished,
                                const std::optional<TimestampUs>& created, TimestampUs as_of) {
    JsonbContainer* own = metadata == nullptr ? nullptr : own_object(metadata);
    TickPlan plan = {effective_interval(override_in(own), configured_limits()), 0, {}};
    plan.jitter_seconds = draw_uniform(configured_bounds(plan.interval.base_seconds), random_bits);
    const std::optional<TimestampUs> activated = activation_in(own);
    plan.run = plan_run({.last_finished = last_finished,
                         .base_seconds = plan.interval.base_seconds,
                         .activation = activated ? activated : created,
                         .as_of = as_of,
                         .jitter_seconds = plan.jitter_seconds,
                         .tick_interval_seconds = guc::tick_interval_seconds});
    return plan;
}

Datum sync_engine::interval_override(Jsonb* metadata) {
    JsonbContainer* own = own_object(metadata);
    return JsonbPGetDatum(JsonbValueToJsonb(find_key(own, "interval_seconds")));
}

SYNC_ENGINE_FUNCTION(parse_utc) {
    text* input = PG_GETARG_TEXT_PP(0);
    const std::optional<TimestampUs> time = parse_utc({VARDATA_ANY(input), VARSIZE_ANY_EXHDR(input)});
    if (!time) {
        PG_RETURN_NULL();
    }
    PG_RETURN_TIMESTAMPTZ(*time);
}

SYNC_ENGINE_FUNCTION(format_utc) {
    char buffer[kUtcTextSize];
    const std::size_t length = format_utc(PG_GETARG_TIMESTAMPTZ(0), buffer);
    if (length == 0) {
        PG_RETURN_NULL();
    }
    PG_RETURN_TEXT_P(cstring_to_text_with_len(buffer, static_cast<int>(length)));
}

SYNC_ENGINE_FUNCTION(jitter_bounds) {
    const JitterBounds bounds = configured_bounds(PG_GETARG_INT32(0));
    Datum values[] = {Int32GetDatum(bounds.lo), Int32GetDatum(bounds.hi)};
    bool nulls[] = {false, false};
    return make_record(fcinfo, values, nulls);
}

SYNC_ENGINE_FUNCTION(draw_jitter) {
    PG_RETURN_INT32(draw_uniform(configured_bounds(PG_GETARG_INT32(0)), random_bits));
}

SYNC_ENGINE_FUNCTION(effective_interval) {
    const EffectiveInterval interval = effective_interval(
        PG_ARGISNULL(0) ? std::nullopt : decode_override(PG_GETARG_JSONB_P(0)), configured_limits());
    Datum values[] = {Int32GetDatum(interval.base_seconds), BoolGetDatum(interval.valid)};
    bool nulls[] = {false, false};
    return make_record(fcinfo, values, nulls);
}

SYNC_ENGINE_FUNCTION(base_seconds) {
    JsonbContainer* own = PG_ARGISNULL(0) ? nullptr : own_object(PG_GETARG_JSONB_P(0));
    PG_RETURN_INT32(effective_interval(override_in(own), configured_limits()).base_seconds);
}

SYNC_ENGINE_FUNCTION(plan_run) {
    const PlanInput input = {
        .last_finished = optional_time(fcinfo, 0),
        .base_seconds = PG_ARGISNULL(1) ? guc::default_interval_seconds : PG_GETARG_INT32(1),
        .activation = optional_time(fcinfo, 2),
        .as_of = PG_ARGISNULL(3) ? kTimestampInfinity : PG_GETARG_TIMESTAMPTZ(3),
        .jitter_seconds = PG_ARGISNULL(4) ? 0 : PG_GETARG_INT32(4),
        .tick_interval_seconds = guc::tick_interval_seconds,
    };
    const RunPlan plan = plan_run(input);
    Datum values[4];
    bool nulls[4] = {false, false, false, false};
    values[0] = verdict_text(plan.verdict);
    set_time(plan.slot, &values[1], &nulls[1]);
    set_time(plan.scheduled_at, &values[2], &nulls[2]);
    set_time(plan.next_run_at, &values[3], &nulls[3]);
    return make_record(fcinfo, values, nulls);
}

SYNC_ENGINE_FUNCTION(plan_tick) {
    const TickPlan plan =
        plan_tick(PG_ARGISNULL(0) ? nullptr : PG_GETARG_JSONB_P(0), optional_time(fcinfo, 1),
                  optional_time(fcinfo, 2), PG_ARGISNULL(3) ? kTimestampInfinity : PG_GETARG_TIMESTAMPTZ(3));
    Datum values[7];
    bool nulls[7] = {};
    values[0] = Int32GetDatum(plan.interval.base_seconds);
    values[1] = BoolGetDatum(plan.interval.valid);
    values[2] = Int32GetDatum(plan.jitter_seconds);
    values[3] = verdict_text(plan.run.verdict);
    set_time(plan.run.slot, &values[4], &nulls[4]);
    set_time(plan.run.scheduled_at, &values[5], &nulls[5]);
    set_time(plan.run.next_run_at, &values[6], &nulls[6]);
    return make_record(fcinfo, values, nulls);
}

SYNC_ENGINE_FUNCTION(backoff) {
    const int32 attempts = PG_ARGISNULL(0) ? 0 : PG_GETARG_INT32(0);
    const double base = PG_ARGISNULL(1) ? NAN : PG_GETARG_FLOAT8(1);
    const double max = PG_ARGISNULL(2) ? NAN : PG_GETARG_FLOAT8(2);
    std::optional<double> hint;
    if (!PG_ARGISNULL(3)) {
        // A numeric may be greater than any double; that becomes infinity here and is cut by the core.
        hint = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, PG_GETARG_DATUM(3)));
    }
    const double seconds = backoff_seconds(attempts, base, max, hint);
    PG_RETURN_DATUM(DirectFunctionCall1(float8_numeric, Float8GetDatum(seconds)));
}

SYNC_ENGINE_FUNCTION(new_token) {
    auto* token = static_cast<pg_uuid_t*>(palloc(sizeof(pg_uuid_t)));
    const std::uint64_t bits[] = {random_bits(), random_bits()};
    static_assert(sizeof bits == sizeof token->data);
    memcpy(token->data, bits, sizeof bits);
    // RFC 9562: version 4, and the variant's two bits.
    token->data[6] = static_cast<unsigned char>((token->data[6] & 0x0f) | 0x40);
    token->data[8] = static_cast<unsigned char>((token->data[8] & 0x3f) | 0x80);
    PG_RETURN_UUID_P(token);
}

SYNC_ENGINE_FUNCTION(setting) {
    text* name = PG_GETARG_TEXT_PP(0);
    const int length = static_cast<int>(VARSIZE_ANY_EXHDR(name));
    double value = 0.0;
    if (!numeric_setting(VARDATA_ANY(name), length, &value)) {
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
                        errmsg("unrecognized setting \"sync_engine.%.*s\"", length, VARDATA_ANY(name))));
    }
    PG_RETURN_FLOAT8(value);
}

SYNC_ENGINE_FUNCTION(in_engine) {
    PG_RETURN_BOOL(guc::internal);
}

namespace {

int rate_argument(FunctionCallInfo fcinfo) {
    const int32 per_minute = PG_GETARG_INT32(2);
    if (per_minute < 1) {
        elog(ERROR, "a rate of %d requests a minute lets nothing through", per_minute);
    }
    return per_minute;
}

}  // namespace

SYNC_ENGINE_FUNCTION(requests_left) {
    if (PG_ARGISNULL(1) || PG_ARGISNULL(2)) {
        PG_RETURN_NULL();
    }
    PG_RETURN_INT32(requests_left(optional_time(fcinfo, 0), PG_GETARG_TIMESTAMPTZ(1), rate_argument(fcinfo)));
}

SYNC_ENGINE_FUNCTION(next_request_at) {
    if (PG_ARGISNULL(1) || PG_ARGISNULL(2)) {
        PG_RETURN_NULL();
    }
    PG_RETURN_TIMESTAMPTZ(
        next_request_at(optional_time(fcinfo, 0), PG_GETARG_TIMESTAMPTZ(1), rate_argument(fcinfo)));
}

SYNC_ENGINE_FUNCTION(busy_after_requests) {
    if (PG_ARGISNULL(1) || PG_ARGISNULL(2) || PG_ARGISNULL(3)) {
        PG_RETURN_NULL();
    }
    PG_RETURN_TIMESTAMPTZ(busy_after_requests(optional_time(fcinfo, 0), PG_GETARG_TIMESTAMPTZ(1),
                                              rate_argument(fcinfo), PG_GETARG_INT64(3)));
}

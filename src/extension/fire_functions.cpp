// What a tick does about a schedule, and what a schedule will do, as SQL asks for it.
#include "core/fire_plan.hpp"
#include "extension/boundary.hpp"
#include "extension/cron_call.hpp"
#include "extension/guc.hpp"
#include "extension/job_functions.hpp"
#include "extension/records.hpp"

extern "C" {
#include "utils/builtins.h"
#include "utils/timestamp.h"
}

using namespace sync_engine;

namespace {

enum Argument {
    kId,
    kExpression,
    kZone,
    kGap,
    kFold,
    kCatchUp,
    kLimit,
    kMaxAge,
    kOverlap,
    kJitter,
    kStarts,
    kEnds,
    kCovered,
    kCoveredOffset,
    kSkips,
    kLive,
    kPaused,
    kPausedUntil,
    kAdopted,
    kLooksAhead,
    kAsOf,
};

constexpr const char* kOutcomes[] = {"fired",           "coalesced", "skipped_overlap", "skipped_paused",
                                     "skipped_by_user", "missed",    "dst_gap"};
constexpr const char* kReasons[] = {nullptr, "adopted", "late", "too_old", "over_limit", "clock_gap"};

// A plan without destructors.
struct PlainPlan {
    FireSpan* spans;
    std::size_t count;
    TimestampUs covered_until;
    std::int32_t covered_offset;
    NullableDatum next, look_at;
    bool waits;
};

std::optional<TimestampUs> time_argument(FunctionCallInfo fcinfo, int at) {
    return PG_ARGISNULL(at) ? std::nullopt : std::optional<TimestampUs>(PG_GETARG_TIMESTAMPTZ(at));
}

NullableDatum time_datum(std::optional<TimestampUs> time) {
    NullableDatum datum = {};
    datum.isnull = !time;
    datum.value = TimestampTzGetDatum(time.value_or(0));
    return datum;
}

FirePolicy fire_policy(FunctionCallInfo fcinfo, CronPolicy dst) {
    FirePolicy policy;
    policy.dst = dst;
    const std::string_view catch_up = view_of(PG_GETARG_TEXT_PP(kCatchUp));
    policy.catch_up = catch_up == "skip" ? CatchUp::skip : catch_up == "all" ? CatchUp::all : CatchUp::latest;
    policy.catchup_limit = PG_GETARG_INT32(kLimit);
    policy.catchup_max_age_seconds = static_cast<std::int64_t>(PG_GETARG_FLOAT8(kMaxAge));
    policy.overlap =
        view_of(PG_GETARG_TEXT_PP(kOverlap)) == "buffer_one" ? Overlap::buffer_one : Overlap::skip;
    policy.jitter_seconds = PG_GETARG_INT32(kJitter);
    policy.jitter_seed = PG_GETARG_INT64(kId);
    policy.starts_at = time_argument(fcinfo, kStarts);
    policy.ends_at = time_argument(fcinfo, kEnds);
    return policy;
}

// No ereport in here: a plan has a destructor.
PlainPlan plain_plan(const CronCall& call, const FirePolicy& policy, TimestampUs covered_until,
                     std::optional<std::int32_t> offset, const Elements& skips, const FireMoment& moment) {
    FireState state = {covered_until, offset, {}};
    for (int i = 0; i < skips.count; ++i) {
        if (!skips.is_null(i)) {
            state.skips.push_back(DatumGetTimestampTz(skips.values[i]));
        }
    }
    const FirePlan plan = plan_fires(call.cron, ServerZone(call.zone), policy, state, moment);
    const std::size_t size = plan.spans.size() * sizeof(FireSpan);
    auto* spans = static_cast<FireSpan*>(palloc_extended(size + 1, MCXT_ALLOC_NO_OOM));
    if (spans == nullptr) {
        throw std::bad_alloc();
    }
    std::copy(plan.spans.begin(), plan.spans.end(), spans);
    return {spans,
            plan.spans.size(),
            plan.covered_until,
            plan.covered_offset,
            time_datum(plan.next),
            time_datum(plan.look_at),
            plan.waits};
}

NullableDatum word(const char* value) {
    NullableDatum datum = {};
    datum.isnull = value == nullptr;
    datum.value = datum.isnull ? 0 : PointerGetDatum(cstring_to_text(value));
    return datum;
}

class Row {
  public:
    void put(NullableDatum value) {
        values_[column_] = value.value;
        nulls_[column_++] = value.isnull;
    }
    void put(Datum value) { put(NullableDatum{value, false}); }
    void put_null() { put(NullableDatum{0, true}); }
    void store(const ResultSet& result) {
        tuplestore_putvalues(result.store, result.descriptor, values_, nulls_);
    }

  private:
    static constexpr int kMost = 16;
    Datum values_[kMost] = {};
    bool nulls_[kMost] = {};
    int column_ = 0;
};

void put_span(const ResultSet& result, int at, const FireSpan& span) {
    Row row;
    row.put(Int32GetDatum(at));
    row.put(word(kOutcomes[static_cast<int>(span.outcome)]));
    row.put(word(kReasons[static_cast<int>(span.reason)]));
    row.put(TimestampTzGetDatum(span.first));
    row.put(TimestampTzGetDatum(span.last));
    row.put(Int64GetDatum(span.count));
    row.put({TimestampTzGetDatum(span.scheduled_at), span.outcome != FireOutcome::fired});
    row.put(BoolGetDatum(span.catch_up));
    for (int i = 0; i < 5; ++i) {
        row.put_null();
    }
    row.store(result);
}

// The row that comes last: where the schedule stands now.
void put_state(const ResultSet& result, const PlainPlan& plan) {
    Row row;
    row.put(Int32GetDatum(static_cast<int>(plan.count) + 1));
    for (int i = 0; i < 7; ++i) {
        row.put_null();
    }
    row.put(TimestampTzGetDatum(plan.covered_until));
    row.put(Int32GetDatum(plan.covered_offset));
    row.put(plan.next);
    row.put(plan.look_at);
    row.put(BoolGetDatum(plan.waits));
    row.store(result);
}

Datum local_datum(LocalSeconds local) {
    return TimestampGetDatum(local * kMicrosPerSecond);
}

void put_run(const ResultSet& result, const TimeZone& zone, TimestampUs at) {
    const std::int64_t seconds = at / kMicrosPerSecond;
    const LocalTime which = local_time_at(zone, at);
    Row row;
    row.put(TimestampTzGetDatum(at));
    row.put(local_datum(seconds + zone.span_at(seconds).offset));
    row.put(word(which == LocalTime::once ? nullptr : which == LocalTime::first_of_two ? "first" : "second"));
    row.put_null();
    row.put_null();
    row.store(result);
}

void put_gap(const ResultSet& result, const TimeZone& zone, const CronGap& gap, bool runs) {
    const std::int64_t seconds = gap.end / kMicrosPerSecond;
    Row row;
    row.put(TimestampTzGetDatum(gap.end));
    row.put(local_datum(seconds + zone.span_at(seconds).offset));
    row.put(word(runs ? "after_gap" : "gap"));
    row.put(local_datum(gap.first));
    row.put(local_datum(gap.last));
    row.store(result);
}

// Not STRICT: many arguments may be null. Of the others one that is plans nothing.
bool plans_nothing(FunctionCallInfo fcinfo) {
    for (int at = 0; at < PG_NARGS(); ++at) {
        const bool optional = at == kStarts || at == kEnds || at == kCoveredOffset || at == kSkips ||
                              at == kPausedUntil || at == kAdopted;
        if (PG_ARGISNULL(at) && !optional) {
            return true;
        }
    }
    return false;
}

}  // namespace

SYNC_ENGINE_FUNCTION(plan_fires) {
    if (plans_nothing(fcinfo)) {
        begin_result_set(fcinfo);
        return 0;
    }
    const CronPolicy dst = cron_policy(PG_GETARG_TEXT_PP(kGap), PG_GETARG_TEXT_PP(kFold));
    const CronCall* call = cron_call(fcinfo, kExpression, kZone);
    const Elements skips = elements_of(fcinfo, kSkips);
    const ResultSet result = begin_result_set(fcinfo);
    const FireMoment moment = {PG_GETARG_TIMESTAMPTZ(kAsOf),   guc::tick_interval_seconds,
                               PG_GETARG_BOOL(kLooksAhead),    PG_GETARG_BOOL(kLive),
                               PG_GETARG_BOOL(kPaused),        time_argument(fcinfo, kPausedUntil),
                               time_argument(fcinfo, kAdopted)};
    const auto offset = PG_ARGISNULL(kCoveredOffset)
                            ? std::nullopt
                            : std::optional<std::int32_t>(PG_GETARG_INT32(kCoveredOffset));
    const PlainPlan plan =
        plain_plan(*call, fire_policy(fcinfo, dst), PG_GETARG_TIMESTAMPTZ(kCovered), offset, skips, moment);
    for (std::size_t i = 0; i < plan.count; ++i) {
        put_span(result, static_cast<int>(i) + 1, plan.spans[i]);
    }
    put_state(result, plan);
    return 0;
}

// Runs later than an instant, and what the clocks do to them: at most so many runs.
SYNC_ENGINE_FUNCTION(cron_preview) {
    const CronPolicy policy = cron_policy(PG_GETARG_TEXT_PP(3), PG_GETARG_TEXT_PP(4));
    const CronCall* call = cron_call(fcinfo, 0, 1);
    const ServerZone zone(call->zone);
    TimestampUs from = PG_GETARG_TIMESTAMPTZ(2);
    const int wanted = PG_GETARG_INT32(5);
    const ResultSet result = begin_result_set(fcinfo);
    for (int found = 0; found < wanted;) {
        CHECK_FOR_INTERRUPTS();
        const std::optional<TimestampUs> run = cron_next(call->cron, zone, from, policy);
        if (!run) {
            break;
        }
        const std::optional<CronGap> gap = cron_next_gap(call->cron, zone, from, *run);
        if (gap && (policy.gap == DstGap::skip || gap->end == *run)) {
            put_gap(result, zone, *gap, policy.gap == DstGap::run_after);
            from = gap->end;
            found += policy.gap == DstGap::run_after ? 1 : 0;
            if (policy.gap == DstGap::skip && gap->end == *run) {
                put_run(result, zone, *run);
                ++found;
            }
            continue;
        }
        put_run(result, zone, *run);
        from = *run;
        ++found;
    }
    return 0;
}

SYNC_ENGINE_FUNCTION(cron_count) {
    const CronPolicy policy = cron_policy(PG_GETARG_TEXT_PP(4), PG_GETARG_TEXT_PP(5));
    const CronCall* call = cron_call(fcinfo, 0, 1);
    PG_RETURN_INT64(cron_count(call->cron, ServerZone(call->zone), PG_GETARG_TIMESTAMPTZ(2),
                               PG_GETARG_TIMESTAMPTZ(3), policy));
}

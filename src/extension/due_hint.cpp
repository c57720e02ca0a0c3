// How ticks use their hint in shared memory, and how it learns which times a transaction has set.
#include "extension/due_hint.hpp"

#include "extension/boundary.hpp"
#include "extension/claim_hints.hpp"
#include "extension/records.hpp"
#include "extension/shared_state.hpp"

extern "C" {
#include "access/xact.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
}

namespace sync_engine {
namespace {

// The last look of this transaction.
struct TickLook {
    bool begun;
    bool raises;  // the hint, if the transaction commits
    std::uint64_t epoch;
    std::int64_t started_ms;
    TimestampTz until;
    std::int64_t seen;  // connections
    LanePosition last;  // the last of them
    LaneLook look;
};

// The earliest due time that this transaction has set.
struct DueSet {
    bool any;
    TimestampTz due;
};

TickLook tick_look = {};
DueSet due_set = {};

LaneName tick_lane() {
    return {MyDatabaseId, 0, {}};
}

// What was scheduled in it is due again, although this transaction's snapshots did not show it.
void on_subtransaction_end(SubXactEvent event, SubTransactionId, SubTransactionId, void*) {
    if (event == SUBXACT_EVENT_ABORT_SUB) {
        tick_look.raises = false;
    }
}

}  // namespace

void register_tick_actions() {
    if (process_shared_preload_libraries_in_progress) {
        RegisterSubXactCallback(on_subtransaction_end, nullptr);
    }
}

void note_due(TimestampTz due) {
    due_set = {true, due_set.any ? Min(due_set.due, due) : due};
}

void settle_due_hint(bool committed) {
    if (committed && tick_look.begun && tick_look.raises) {
        raise_hints(&tick_look.look, 1, tick_look.epoch, tick_look.started_ms, tick_look.until);
    }
    if (committed && due_set.any) {
        const QueuedJob due = {tick_lane(), due_set.due};
        pull_back_hints(&due, 1);
    }
    tick_look.begun = false;
    due_set = {};
}

}  // namespace sync_engine

using namespace sync_engine;

SYNC_ENGINE_FUNCTION(begin_tick) {
    LanePosition front = kLaneFront;
    if (claim_hints_available()) {
        tick_look.begun = true;
        // A snapshot that is older than this call may not show what others have set since.
        tick_look.raises = !IsolationUsesXactSnapshot();
        tick_look.started_ms = monotonic_ms();
        tick_look.until = PG_GETARG_TIMESTAMPTZ(0);
        tick_look.epoch = begin_epoch(LaneKind::tick);
        tick_look.seen = 0;
        tick_look.look = look_at_lane(tick_lane(), true, tick_look.started_ms);
        front = tick_look.look.after;
        // What this session has set is not told to others before it is committed.
        if (due_set.any && LanePosition{due_set.due, PG_INT64_MIN} < front) {
            front = {due_set.due, PG_INT64_MIN};
        }
    }
    Datum values[] = {TimestampTzGetDatum(front.due), Int64GetDatum(front.id)};
    bool nulls[] = {false, false};
    PG_RETURN_DATUM(make_record(fcinfo, values, nulls));
}

SYNC_ENGINE_FUNCTION(tick_saw) {
    LaneLook* look = &tick_look.look;
    if (tick_look.begun) {
        const LanePosition position = {PG_GETARG_TIMESTAMPTZ(0), PG_GETARG_INT64(1)};
        if (!look->found) {
            look->found_ms = monotonic_ms();
        }
        if (!look->found || position < look->first) {
            look->first = position;
        }
        look->found = true;
        tick_look.last = position;
        ++tick_look.seen;
    }
    PG_RETURN_BOOL(true);
}

SYNC_ENGINE_FUNCTION(tick_locked) {
    tick_look.look.looked = true;
    // When all that it saw is its own, nothing of that will be due where it was: the next tick begins behind
    // it.
    if (tick_look.begun && tick_look.seen == PG_GETARG_INT64(0)) {
        tick_look.look.found = PG_GETARG_BOOL(1);
        tick_look.look.first = {tick_look.last.due, tick_look.last.id + 1};
    }
    PG_RETURN_VOID();
}

SYNC_ENGINE_FUNCTION(due_written) {
    if (!CALLED_AS_TRIGGER(fcinfo)) {
        ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
                        errmsg("_due_written was not called as a trigger")));
    }
    const auto* trigger = reinterpret_cast<TriggerData*>(fcinfo->context);
    TupleDesc descriptor = RelationGetDescr(trigger->tg_relation);
    HeapTuple row = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple : trigger->tg_trigtuple;
    bool null = true;
    const Datum due = heap_getattr(row, SPI_fnumber(descriptor, "due_at"), descriptor, &null);
    if (!null) {
        note_due(DatumGetTimestampTz(due));
    }
    return PointerGetDatum(nullptr);
}

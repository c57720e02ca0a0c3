// How claims use the hints in shared memory, and how those learn what a transaction has queued.
#include "extension/boundary.hpp"
#include "extension/claim_hints.hpp"
#include "extension/records.hpp"
#include "extension/shared_state.hpp"
#include "extension/tenant_lanes.hpp"

extern "C" {
#include "access/htup_details.h"
#include "access/xact.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "executor/spi.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
}

namespace sync_engine {
namespace {

// Lanes that a claim may raise the hints of. A transaction that queues jobs in more than kMaxQueued pulls all
// hints back.
constexpr int kMaxLooks = 256;
constexpr int kMaxQueued = 256;

// The last claim of this transaction.
struct Claim {
    bool begun;
    bool raises;  // the hints, if the transaction commits
    std::uint64_t epoch;
    std::int64_t started_ms;
    TimestampTz as_of;
    int count;
    LaneName names[kMaxLooks];
    LaneLook looks[kMaxLooks];
};

// What this transaction has queued.
struct Queued {
    bool everywhere;
    int count;
    int last;  // the one found last: mostly the next one too
    QueuedJob jobs[kMaxQueued];
};

Claim claim = {};
Queued queued = {};

bool name_lane(LaneName* name, const text* slug, int32 priority) {
    const auto length = static_cast<Size>(VARSIZE_ANY_EXHDR(slug));
    if (length >= sizeof name->slug) {
        return false;
    }
    *name = {MyDatabaseId, priority, {}};
    memcpy(name->slug, VARDATA_ANY(slug), length);
    return true;
}

bool same_lane(const LaneName& a, const LaneName& b) {
    return a.priority == b.priority && memcmp(a.slug, b.slug, sizeof a.slug) == 0;
}

// The place of the lane in this claim, the same each time it asks; -1 where all are taken.
int remember_look(const LaneName& name) {
    for (int i = 0; i < claim.count; ++i) {
        if (same_lane(claim.names[i], name)) {
            return i;
        }
    }
    if (claim.count == kMaxLooks) {
        return -1;
    }
    claim.names[claim.count] = name;
    claim.looks[claim.count] = look_at_lane(name, true, claim.started_ms);
    return claim.count++;
}

// This transaction's job of that lane that is due first; null if it has queued none.
QueuedJob* find_queued(const LaneName& name) {
    if (queued.count > 0 && same_lane(queued.jobs[queued.last].lane, name)) {
        return &queued.jobs[queued.last];
    }
    for (int i = 0; i < queued.count; ++i) {
        if (same_lane(queued.jobs[i].lane, name)) {
            queued.last = i;
            return &queued.jobs[i];
        }
    }
    return nullptr;
}

void remember_queued(const LaneName& name, TimestampTz due) {
    if (QueuedJob* job = find_queued(name)) {
        job->due = Min(job->due, due);
    } else if (queued.count == kMaxQueued) {
        queued.everywhere = true;
    } else {
        queued.last = queued.count;
        queued.jobs[queued.count++] = {name, due};
    }
}

// Where this session begins to read the lane: its own jobs are not told to others before they are committed.
LanePosition front_for_session(const LaneName& name, const LanePosition& hint) {
    if (queued.everywhere) {
        return kLaneFront;
    }
    const QueuedJob* job = find_queued(name);
    if (job != nullptr && LanePosition{job->due, PG_INT64_MIN} < hint) {
        return {job->due, PG_INT64_MIN};
    }
    return hint;
}

// What was claimed in it is queued again, although this transaction's snapshots did not show it.
void on_subtransaction_end(SubXactEvent event, SubTransactionId, SubTransactionId, void*) {
    if (event == SUBXACT_EVENT_ABORT_SUB) {
        claim.raises = false;
    }
}

// Looked up once: the columns keep their numbers as long as the table lives.
struct JobColumns {
    Oid table;
    int provider_slug;
    int priority;
    int scheduled_at;
    int retry_after;
    int tenant_id;
    int own_lane;
};

const JobColumns& columns_of(Relation table) {
    static JobColumns columns = {};
    if (columns.table != RelationGetRelid(table)) {
        TupleDesc descriptor = RelationGetDescr(table);
        columns = {InvalidOid,
                   SPI_fnumber(descriptor, "provider_slug"),
                   SPI_fnumber(descriptor, "priority"),
                   SPI_fnumber(descriptor, "scheduled_at"),
                   SPI_fnumber(descriptor, "retry_after"),
                   SPI_fnumber(descriptor, "tenant_id"),
                   SPI_fnumber(descriptor, "own_lane")};
        if (columns.provider_slug <= 0 || columns.priority <= 0 || columns.scheduled_at <= 0 ||
            columns.retry_after <= 0 || columns.tenant_id <= 0 || columns.own_lane <= 0) {
            elog(ERROR, "table %s does not hold jobs", RelationGetRelationName(table));
        }
        columns.table = RelationGetRelid(table);
    }
    return columns;
}

void remember_job(HeapTuple job, Relation table) {
    const JobColumns& columns = columns_of(table);
    TupleDesc descriptor = RelationGetDescr(table);
    bool no_slug = false;
    bool no_priority = false;
    bool no_time = false;
    bool no_retry = false;
    const Datum slug = heap_getattr(job, columns.provider_slug, descriptor, &no_slug);
    const Datum priority = heap_getattr(job, columns.priority, descriptor, &no_priority);
    const Datum scheduled_at = heap_getattr(job, columns.scheduled_at, descriptor, &no_time);
    const Datum retry_after = heap_getattr(job, columns.retry_after, descriptor, &no_retry);
    if (no_slug || no_priority || no_time) {
        // The table refuses it.
        return;
    }
    TimestampTz due = DatumGetTimestampTz(scheduled_at);
    if (!no_retry) {
        due = Max(due, DatumGetTimestampTz(retry_after));
    }
    LaneName name;
    if (name_lane(&name, DatumGetTextPP(slug), DatumGetInt32(priority))) {
        remember_queued(name, due);
    }
}

// Puts the job into its tenant's own lane, or out of it. Returns the row to be written.
HeapTuple choose_lane(HeapTuple job, Relation table, bool* own) {
    const JobColumns& columns = columns_of(table);
    TupleDesc descriptor = RelationGetDescr(table);
    bool null = false;
    const Datum tenant = heap_getattr(job, columns.tenant_id, descriptor, &null);
    *own = !null && has_own_lane(DatumGetTextPP(tenant));
    const Datum now = heap_getattr(job, columns.own_lane, descriptor, &null);
    if (!null && DatumGetBool(now) == *own) {
        return job;
    }
    Datum value = BoolGetDatum(*own);
    bool is_null = false;
    int column = columns.own_lane;
    return heap_modify_tuple_by_cols(job, descriptor, 1, &column, &value, &is_null);
}

}  // namespace

void note_queued(const text* slug, int32 priority, TimestampTz due) {
    LaneName name;
    if (claim_hints_available() && name_lane(&name, slug, priority)) {
        remember_queued(name, due);
    }
}

void register_claim_actions() {
    if (process_shared_preload_libraries_in_progress) {
        RegisterSubXactCallback(on_subtransaction_end, nullptr);
    }
}

void settle_claim_hints(bool committed) {
    if (committed && claim.begun && claim.raises) {
        raise_hints(claim.looks, claim.count, claim.epoch, claim.started_ms, claim.as_of);
    }
    if (committed && queued.everywhere) {
        pull_back_all_hints(MyDatabaseId);
    } else if (committed && queued.count > 0) {
        pull_back_hints(queued.jobs, queued.count);
    }
    claim.begun = false;
    claim.count = 0;
    queued.everywhere = false;
    queued.count = 0;
}

}  // namespace sync_engine

using namespace sync_engine;

SYNC_ENGINE_FUNCTION(begin_claim) {
    if (claim_hints_available()) {
        claim.begun = true;
        // A snapshot that is older than this call may not show what others have queued since.
        claim.raises = !IsolationUsesXactSnapshot();
        claim.started_ms = monotonic_ms();
        claim.as_of = PG_GETARG_TIMESTAMPTZ(0);
        claim.count = 0;
        claim.epoch = begin_epoch(LaneKind::queue);
    }
    PG_RETURN_VOID();
}

SYNC_ENGINE_FUNCTION(lane_front) {
    LanePosition front = kLaneFront;
    int place = -1;
    LaneName name;
    if (claim_hints_available() && name_lane(&name, PG_GETARG_TEXT_PP(0), PG_GETARG_INT32(1))) {
        place = claim.begun ? remember_look(name) : -1;
        front = place >= 0 ? claim.looks[place].after : look_at_lane(name, false, monotonic_ms()).after;
        front = front_for_session(name, front);
    }
    Datum values[] = {Int32GetDatum(place), TimestampTzGetDatum(front.due), Int64GetDatum(front.id)};
    bool nulls[] = {false, false, false};
    PG_RETURN_DATUM(make_record(fcinfo, values, nulls));
}

SYNC_ENGINE_FUNCTION(next_lane) {
    LaneName name;
    int32 priority = 0;
    if (!claim_hints_available() || !name_lane(&name, PG_GETARG_TEXT_PP(0), 0) ||
        !next_known_lane(name, PG_GETARG_INT64(1), &priority)) {
        PG_RETURN_NULL();
    }
    PG_RETURN_INT32(priority);
}

SYNC_ENGINE_FUNCTION(claim_saw) {
    const int place = PG_GETARG_INT32(0);
    const bool found = !PG_ARGISNULL(1);
    if (claim.begun && place >= 0 && place < claim.count) {
        LaneLook* look = &claim.looks[place];
        look->looked = true;
        if (found) {
            const LanePosition position = {PG_GETARG_TIMESTAMPTZ(1), PG_GETARG_INT64(2)};
            if (!look->found || position < look->first) {
                look->first = position;
            }
            look->found = true;
        }
    }
    PG_RETURN_BOOL(found);
}

SYNC_ENGINE_FUNCTION(job_queued) {
    if (!CALLED_AS_TRIGGER(fcinfo)) {
        ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
                        errmsg("_job_queued was not called as a trigger")));
    }
    const auto* trigger = reinterpret_cast<TriggerData*>(fcinfo->context);
    HeapTuple job = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple : trigger->tg_trigtuple;
    bool own = false;
    job = choose_lane(job, trigger->tg_relation, &own);
    // A tenant's own lane has no hint.
    if (claim_hints_available() && !own) {
        remember_job(job, trigger->tg_relation);
    }
    return PointerGetDatum(job);
}

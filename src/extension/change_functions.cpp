// Watching a tenant's changes, as SQL functions, and how the engine's SQL notes what changes.
#include <charconv>
#include <string>

#include "extension/boundary.hpp"
#include "extension/bound_tenant.hpp"
#include "extension/change_ring.hpp"
#include "extension/cron_call.hpp"
#include "extension/records.hpp"

extern "C" {
#include "commands/trigger.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/rel.h"
}

using namespace sync_engine;

namespace {

constexpr int kMaxSeconds = 3600;
constexpr int kMaxRows = 10000;
constexpr const char* kKinds[] = {"connection", "job", "schedule", "notification", "reset"};

// Raises where the caller is bound to none: changes are a tenant's.
std::string_view own_tenant() {
    const char* tenant = bound_tenant();
    if (tenant == nullptr || tenant[0] == '\0') {
        ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
                        errmsg("the session is bound to no tenant whose changes it could watch"),
                        errhint("Set sync_engine.tenant_id to the tenant.")));
    }
    return tenant;
}

Datum position_text(std::uint64_t position) {
    const bool available = changes_available();
    return PointerGetDatum(
        cstring_to_text(psprintf("%llx-%llu", static_cast<unsigned long long>(available ? ring_epoch() : 0),
                                 static_cast<unsigned long long>(available ? position : 0))));
}

// False where it is none, or one of another start of the server.
bool read_position(std::string_view text, std::uint64_t* position) {
    std::uint64_t epoch = 0;
    const char* end = text.data() + text.size();
    const auto [dash, fault] = std::from_chars(text.data(), end, epoch, 16);
    if (fault != std::errc() || dash == end || *dash != '-') {
        return false;
    }
    const auto [rest, digits_fault] = std::from_chars(dash + 1, end, *position);
    return digits_fault == std::errc() && rest == end && epoch == ring_epoch();
}

ChangeKind kind_of(std::string_view name) {
    for (std::size_t i = 0; i < lengthof(kKinds); ++i) {
        if (name == kKinds[i]) {
            return static_cast<ChangeKind>(i);
        }
    }
    elog(ERROR, "there is no kind of change \"%.*s\"", static_cast<int>(name.size()), name.data());
}

void put_row(const ResultSet& result, std::uint64_t position, const Change& change) {
    const auto kind = static_cast<std::size_t>(change.kind);
    const bool resets = change.kind >= ChangeKind::reset_tenant;
    Datum values[] = {position_text(position), CStringGetTextDatum(kKinds[Min(kind, lengthof(kKinds) - 1)]),
                      Int64GetDatum(change.connection), Int64GetDatum(change.object)};
    bool nulls[] = {false, false, resets || change.connection == 0, resets || change.object == 0};
    tuplestore_putvalues(result.store, result.descriptor, values, nulls);
}

void put_reset(const ResultSet& result, std::uint64_t position) {
    put_row(result, position, {MyDatabaseId, ChangeKind::reset_tenant, 0, 0, 0});
}

bool concerns(const Change& change, std::uint64_t tenant) {
    if (change.database != MyDatabaseId) {
        return false;
    }
    return change.kind == ChangeKind::reset_watch
               ? change.tenant == static_cast<std::uint64_t>(watch_of(tenant))
               : change.tenant == tenant;
}

// All changes of the tenant's watch, the latest first.
struct Log {
    PlacedChange* changes;
    Size count;
};

// False where some are lost, or told as a whole.
bool read_log(std::uint64_t tenant, std::uint64_t after, std::uint64_t last, Log* log) {
    PlacedChange chunk[kChunk];
    Size room = kChunk;
    *log = {static_cast<PlacedChange*>(palloc(room * sizeof(PlacedChange))), 0};
    while (last > after) {
        CHECK_FOR_INTERRUPTS();
        int count = 0;
        if (!copy_changes_back(&last, after, chunk, &count)) {
            return false;
        }
        for (int i = 0; i < count; ++i) {
            if (!concerns(chunk[i].change, tenant)) {
                continue;
            }
            if (chunk[i].change.kind >= ChangeKind::reset_tenant) {
                return false;
            }
            if (log->count == room) {
                room *= 2;
                log->changes =
                    static_cast<PlacedChange*>(repalloc(log->changes, room * sizeof(PlacedChange)));
            }
            log->changes[log->count++] = chunk[i];
        }
    }
    return true;
}

// Each change once, where it came first. The last one's position is the ring's, unless there are more.
void put_changes(const ResultSet& result, const Log& log, int most, std::uint64_t ring_position) {
    ChangeSet told = make_change_set(CurrentMemoryContext);
    auto* positions =
        static_cast<std::uint64_t*>(palloc(Min(log.count, static_cast<Size>(most)) * sizeof(std::uint64_t)));
    bool full = false;
    for (Size i = log.count; i-- > 0 && !full;) {
        full = told.count == most && !has_change(told, log.changes[i].change);
        if (!full && add_change(&told, log.changes[i].change)) {
            positions[told.count - 1] = log.changes[i].position;
        }
    }
    for (int i = 0; i < told.count; ++i) {
        const bool is_last = i == told.count - 1 && !full;
        put_row(result, is_last ? ring_position : positions[i], told.items[i]);
    }
}

// The attribute of a row of the trigger's table; 0 where it is null.
std::int64_t id_in(const TriggerData* trigger, HeapTuple row, const char* column) {
    bool null = true;
    const TupleDesc descriptor = RelationGetDescr(trigger->tg_relation);
    const Datum value = heap_getattr(row, SPI_fnumber(descriptor, column), descriptor, &null);
    return null ? 0 : DatumGetInt64(value);
}

std::string_view tenant_in(const TriggerData* trigger, HeapTuple row) {
    bool null = true;
    const TupleDesc descriptor = RelationGetDescr(trigger->tg_relation);
    const Datum value = heap_getattr(row, SPI_fnumber(descriptor, "tenant_id"), descriptor, &null);
    return null ? std::string_view() : view_of(DatumGetTextPP(value));
}

void note_row(const TriggerData* trigger) {
    const bool updates = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event);
    HeapTuple row = updates ? trigger->tg_newtuple : trigger->tg_trigtuple;
    char** arguments = trigger->tg_trigger->tgargs;
    const ChangeKind kind = kind_of(arguments[0]);
    const std::string_view tenant = tenant_in(trigger, row);
    const std::int64_t connection = id_in(trigger, row, arguments[1]);
    const std::int64_t object = id_in(trigger, row, arguments[2]);
    note_change(kind, tenant, connection, object);
    if (updates) {
        // Whom it has left sees it no more.
        const std::string_view former = tenant_in(trigger, trigger->tg_trigtuple);
        if (former != tenant) {
            note_change(kind, former, connection, object);
        }
    }
}

}  // namespace

SYNC_ENGINE_FUNCTION(watch_changes) {
    const std::string_view tenant = own_tenant();
    const int seconds = PG_ARGISNULL(0) ? 0 : PG_GETARG_INT32(0);
    if (seconds < 1 || seconds > kMaxSeconds) {
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("seconds must be between 1 and %d", kMaxSeconds)));
    }
    PG_RETURN_DATUM(position_text(
        changes_available() ? watch_tenant(tenant_hash(tenant), static_cast<std::int64_t>(seconds) * 1000)
                            : 0));
}

SYNC_ENGINE_FUNCTION(read_changes) {
    const std::string_view tenant = own_tenant();
    const int most = PG_ARGISNULL(1) ? 0 : PG_GETARG_INT32(1);
    if (most < 1 || most > kMaxRows) {
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("max_rows must be between 1 and %d", kMaxRows)));
    }
    const ResultSet result = begin_result_set(fcinfo);
    if (!changes_available()) {
        put_reset(result, 0);
        return 0;
    }
    const std::uint64_t hash = tenant_hash(tenant);
    std::uint64_t after = 0;
    std::uint64_t position = 0;
    std::uint64_t last = 0;
    Log log = {};
    if (!PG_ARGISNULL(0) && read_position(view_of(PG_GETARG_TEXT_PP(0)), &after) &&
        look_for_changes(hash, after, &position, &last) && read_log(hash, after, last, &log)) {
        put_changes(result, log, most, position);
    } else {
        put_reset(result, ring_position());
    }
    return 0;
}

SYNC_ENGINE_FUNCTION(change_slot) {
    PG_RETURN_TEXT_P(
        cstring_to_text(psprintf("%08x", static_cast<std::uint32_t>(tenant_hash(own_tenant())))));
}

SYNC_ENGINE_FUNCTION(note_change) {
    if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || !wants_changes()) {
        PG_RETURN_VOID();
    }
    note_change(kind_of(view_of(PG_GETARG_TEXT_PP(0))), view_of(PG_GETARG_TEXT_PP(1)),
                PG_ARGISNULL(2) ? 0 : PG_GETARG_INT64(2), PG_ARGISNULL(3) ? 0 : PG_GETARG_INT64(3));
    PG_RETURN_VOID();
}

SYNC_ENGINE_FUNCTION(row_changed) {
    if (!CALLED_AS_TRIGGER(fcinfo)) {
        ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
                        errmsg("_row_changed was not called as a trigger")));
    }
    const auto* trigger = reinterpret_cast<TriggerData*>(fcinfo->context);
    if (!TRIGGER_FIRED_FOR_ROW(trigger->tg_event)) {
        note_all_changed();
    } else if (wants_changes()) {
        note_row(trigger);
    }
    return 0;
}

// What executors hand to complete_jobs, taken apart in one pass. Nothing here raises for what an element
// holds: a fault is a column of its row, so that one job's bad data fails that job alone.
#include "extension/boundary.hpp"
#include "extension/json_values.hpp"
#include "extension/records.hpp"
#include "extension/result_element.hpp"

extern "C" {
#include "utils/numeric.h"
#include "utils/uuid.h"
}

using namespace sync_engine;

namespace {

enum Column {
    ord,
    job_id,
    claim_token,
    failing,
    fault,
    signals,
    next_cursor,
    has_more,
    stats,
    error,
    kind,
    hint,
    column_count
};

struct Row {
    Datum values[column_count];
    bool nulls[column_count];

    void set(Column column, Datum value) {
        values[column] = value;
        nulls[column] = false;
    }
};

const char* find_fault(const JsonbValue* given_stats, const JsonbValue* more, bool has_cursor) {
    if (given_stats != nullptr && strcmp(type_name(*given_stats), "object") != 0) {
        return "stats is not an object";
    }
    if (more != nullptr && more->type != jbvBool) {
        return "has_more is not a boolean";
    }
    return more != nullptr && more->val.boolean && !has_cursor ? "has_more without a next_cursor" : nullptr;
}

void set_json(Row* row, Column column, JsonbValue* value) {
    if (value != nullptr) {
        row->set(column, JsonbPGetDatum(JsonbValueToJsonb(value)));
    }
}

void read_object(JsonbContainer* element, Row* row) {
    int64 id = 0;
    const bool has_id = read_id(find(element, "job_id"), &id);
    if (has_id) {
        row->set(job_id, Int64GetDatum(id));
    }
    auto* token = static_cast<pg_uuid_t*>(palloc(sizeof(pg_uuid_t)));
    if (read_uuid(find(element, "claim_token"), token)) {
        row->set(claim_token, UUIDPGetDatum(token));
    }
    JsonbValue* given_error = getKeyJsonValueFromContainer(element, "error", 5, nullptr);
    row->set(failing, BoolGetDatum(given_error != nullptr));
    set_json(row, error, given_error);
    JsonbValue* cursor = find(element, "next_cursor");
    JsonbValue* given_stats = find(element, "stats");
    const JsonbValue* more = find(element, "has_more");
    set_json(row, signals, find(element, "signals"));
    set_json(row, next_cursor, cursor);
    set_json(row, stats, given_stats);
    row->set(has_more, BoolGetDatum(more != nullptr && more->type == jbvBool && more->val.boolean));
    const JsonbValue* given_kind = find(element, "kind");
    if (given_kind != nullptr && given_kind->type == jbvString) {
        row->set(kind, PointerGetDatum(
                           cstring_to_text_with_len(given_kind->val.string.val, given_kind->val.string.len)));
    }
    const JsonbValue* given_hint = find(element, "retry_after_seconds");
    if (given_hint != nullptr && given_hint->type == jbvNumeric) {
        row->set(hint, NumericGetDatum(given_hint->val.numeric));
    }
    if (const char* wrong = find_fault(given_stats, more, cursor != nullptr)) {
        row->set(fault, CStringGetTextDatum(wrong));
    }
}

}  // namespace

SYNC_ENGINE_FUNCTION(read_results) {
    const ResultSet rows = begin_result_set(fcinfo);
    Jsonb* results = PG_GETARG_JSONB_P(0);
    MemoryContext element_context =
        AllocSetContextCreate(CurrentMemoryContext, "sync_engine results", ALLOCSET_DEFAULT_SIZES);
    JsonbIterator* it = JsonbIteratorInit(&results->root);
    JsonbValue element;
    JsonbIteratorToken token;
    int32 count = 0;
    while ((token = JsonbIteratorNext(&it, &element, true)) != WJB_DONE) {
        if (token != WJB_ELEM) {
            continue;
        }
        CHECK_FOR_INTERRUPTS();
        MemoryContext caller = MemoryContextSwitchTo(element_context);
        Row row;
        memset(row.nulls, true, sizeof row.nulls);
        row.set(ord, Int32GetDatum(++count));
        row.set(failing, BoolGetDatum(false));
        if (element.type == jbvBinary && JsonContainerIsObject(element.val.binary.data)) {
            read_object(element.val.binary.data, &row);
        } else {
            row.set(fault, CStringGetTextDatum(psprintf("results[%d] is a JSON %s, not an object", count - 1,
                                                        type_name(element))));
        }
        tuplestore_putvalues(rows.store, rows.descriptor, row.values, row.nulls);
        MemoryContextSwitchTo(caller);
        MemoryContextReset(element_context);
    }
    MemoryContextDelete(element_context);
    return static_cast<Datum>(0);
}

// What claim and complete share: their arguments, and how they count.
#pragma once

#include "extension/change_ring.hpp"
#include "extension/compat.hpp"
#include "extension/metrics.hpp"
#include "extension/row_table.hpp"

extern "C" {
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/itemptr.h"
#include "utils/array.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
}

namespace sync_engine {

// Elements of an array argument; none where it is null.
struct Elements {
    Datum* values;
    bool* nulls;
    int count;

    [[nodiscard]] bool is_null(int i) const { return i >= count || nulls[i]; }
};

inline Elements elements_of(FunctionCallInfo fcinfo, int argument) {
    Elements elements = {nullptr, nullptr, 0};
    if (!PG_ARGISNULL(argument)) {
        ArrayType* array = PG_GETARG_ARRAYTYPE_P(argument);
        int16 length = 0;
        bool by_value = false;
        char align = TYPALIGN_INT;
        get_typlenbyvalalign(ARR_ELEMTYPE(array), &length, &by_value, &align);
        deconstruct_array(array, ARR_ELEMTYPE(array), length, by_value, align, &elements.values,
                          &elements.nulls, &elements.count);
    }
    return elements;
}

inline Datum array_of(Datum* elements, int count, Oid type) {
    int16 length = 0;
    bool by_value = false;
    char align = TYPALIGN_INT;
    get_typlenbyvalalign(type, &length, &by_value, &align);
    return PointerGetDatum(construct_array(elements, count, type, length, by_value, align));
}

inline ItemPointer place_of(const Elements& elements, int i) {
    return reinterpret_cast<ItemPointer>(DatumGetPointer(elements.values[i]));
}

inline bool text_is(Datum value, std::string_view wanted) {
    const text* given = DatumGetTextPP(value);
    return VARSIZE_ANY_EXHDR(given) == wanted.size() &&
           memcmp(VARDATA_ANY(given), wanted.data(), wanted.size()) == 0;
}

// The entry of a list (next, slug) that has that slug; null where there is none. Lists are short: a call
// meets few providers.
template <class Entry>
Entry* find_by_slug(Entry* first, Datum slug) {
    Entry* entry = first;
    while (entry != nullptr && !text_is(slug, {VARDATA_ANY(entry->slug), VARSIZE_ANY_EXHDR(entry->slug)})) {
        entry = entry->next;
    }
    return entry;
}

// Counts or observes a value of a metric with these labels, as far as it has any.
inline void count_metric(std::string_view name, const text* label, double value, const char* label2 = "") {
    if (!metrics_available()) {
        return;
    }
    MetricKey key = {};
    key.database = MyDatabaseId;
    key.metric = find_metric(name);
    if (label != nullptr) {
        const int length = static_cast<int>(VARSIZE_ANY_EXHDR(label));
        memcpy(key.label1, VARDATA_ANY(label),
               static_cast<Size>(pg_mbcliplen(VARDATA_ANY(label), length, kMetricLabelSize - 1)));
    }
    strlcpy(key.label2, label2, sizeof key.label2);
    metrics_record(key, value);
}

// Notes that a job has changed, for whoever watches its tenant.
inline void note_job(Datum tenant, Datum connection, Datum id) {
    if (wants_changes()) {
        const text* name = DatumGetTextPP(tenant);
        note_change(ChangeKind::job, {VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name)}, DatumGetInt64(connection),
                    DatumGetInt64(id));
    }
}

inline bool is_json_null(Datum json) {
    JsonbValue value;
    return JsonbExtractScalar(&DatumGetJsonbP(json)->root, &value) && value.type == jbvNull;
}

inline NullableDatum nullable_column(const RowTable* table, AttrNumber column) {
    NullableDatum value = {};
    value.value = get_column(table, column, &value.isnull);
    return value;
}

// Of a column that is never null.
inline Datum column_value(const RowTable* table, AttrNumber column) {
    bool null = false;
    return get_column(table, column, &null);
}

}  // namespace sync_engine

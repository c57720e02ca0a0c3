// Metrics as SQL functions. Counting never raises for a value, and does nothing where there is no shared
// memory.
#include <cmath>

#include "extension/boundary.hpp"
#include "extension/metrics.hpp"
#include "extension/records.hpp"

extern "C" {
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
}

using namespace sync_engine;

namespace {

void copy_label(FunctionCallInfo fcinfo, int argument, bool wanted, char (&label)[kMetricLabelSize]) {
    if (!wanted || PG_ARGISNULL(argument)) {
        return;
    }
    text* input = PG_GETARG_TEXT_PP(argument);
    const int length = static_cast<int>(VARSIZE_ANY_EXHDR(input));
    memcpy(label, VARDATA_ANY(input), pg_mbcliplen(VARDATA_ANY(input), length, kMetricLabelSize - 1));
}

// The three functions that count share their arguments: name, one or two labels, value.
void record(FunctionCallInfo fcinfo, MetricKind kind, int value_argument) {
    if (PG_ARGISNULL(0) || PG_ARGISNULL(value_argument)) {
        return;
    }
    text* name = PG_GETARG_TEXT_PP(0);
    const int metric = find_metric({VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name)});
    if (metric < 0 || kMetricCatalog[metric].kind != kind) {
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
                        errmsg("there is no %s \"%s\"", kind_name(kind).data(), text_to_cstring(name))));
    }
    const double value = PG_GETARG_FLOAT8(value_argument);
    if (!metrics_available() || !std::isfinite(value) || (kind == MetricKind::counter && value < 0.0)) {
        return;
    }
    MetricKey key = {};
    key.database = MyDatabaseId;
    key.metric = metric;
    copy_label(fcinfo, 1, !kMetricCatalog[metric].label1_name.empty(), key.label1);
    if (value_argument > 2) {
        copy_label(fcinfo, 2, !kMetricCatalog[metric].label2_name.empty(), key.label2);
    }
    metrics_record(key, value);
}

Datum text_datum(std::string_view value) {
    return PointerGetDatum(cstring_to_text_with_len(value.data(), static_cast<int>(value.size())));
}

Datum bounds_array(const MetricBounds& bounds) {
    Datum elements[kMaxMetricBounds];
    for (std::size_t i = 0; i < bounds.count; ++i) {
        elements[i] = Float8GetDatum(bounds.values[i]);
    }
    return PointerGetDatum(construct_array(elements, static_cast<int>(bounds.count), FLOAT8OID,
                                           sizeof(float8), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

// Cumulative, the last one counting everything, as the exposition formats want them.
Datum counts_array(const MetricBounds& bounds, const MetricHistogram& histogram) {
    Datum elements[kMaxMetricBounds + 1];
    uint64 total = 0;
    for (std::size_t i = 0; i <= bounds.count; ++i) {
        total += histogram.buckets[i];
        elements[i] = Int64GetDatum(static_cast<int64>(total));
    }
    return PointerGetDatum(construct_array(elements, static_cast<int>(bounds.count) + 1, INT8OID,
                                           sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

void put_series(const ResultSet& result, const MetricSeries& series) {
    const MetricDefinition& metric = kMetricCatalog[series.key.metric];
    Datum values[9] = {};
    bool nulls[9] = {};
    values[0] = text_datum(metric.name);
    values[1] = text_datum(kind_name(metric.kind));
    values[2] = text_datum(series.key.label1);
    values[3] = text_datum(series.key.label2);
    if (metric.kind == MetricKind::histogram) {
        nulls[4] = true;
        values[5] = bounds_array(metric.bounds);
        values[6] = counts_array(metric.bounds, series.histogram);
        values[7] = Float8GetDatum(series.histogram.sum);
        values[8] = Int64GetDatum(static_cast<int64>(series.histogram.count));
    } else {
        values[4] = Float8GetDatum(series.value);
        nulls[5] = nulls[6] = nulls[7] = nulls[8] = true;
    }
    tuplestore_putvalues(result.store, result.descriptor, values, nulls);
}

}  // namespace

SYNC_ENGINE_FUNCTION(metric_add) {
    record(fcinfo, MetricKind::counter, 3);
    PG_RETURN_VOID();
}

SYNC_ENGINE_FUNCTION(metric_observe) {
    record(fcinfo, MetricKind::histogram, 2);
    PG_RETURN_VOID();
}

SYNC_ENGINE_FUNCTION(metric_set) {
    record(fcinfo, MetricKind::gauge, 2);
    PG_RETURN_VOID();
}

SYNC_ENGINE_FUNCTION(metrics_available) {
    PG_RETURN_BOOL(metrics_available());
}

SYNC_ENGINE_FUNCTION(metrics_reset) {
    metrics_forget_database(MyDatabaseId);
    PG_RETURN_VOID();
}

SYNC_ENGINE_FUNCTION(metrics_snapshot) {
    const ResultSet result = begin_result_set(fcinfo);
    if (metrics_available()) {
        int count = 0;
        MetricSeries* series = metrics_copy(&count);
        for (int i = 0; i < count; ++i) {
            put_series(result, series[i]);
        }
        pfree(series);
    }
    return static_cast<Datum>(0);
}

SYNC_ENGINE_FUNCTION(metrics_catalog) {
    const ResultSet result = begin_result_set(fcinfo);
    for (const MetricDefinition& metric : kMetricCatalog) {
        Datum values[] = {text_datum(metric.name), text_datum(kind_name(metric.kind)),
                          text_datum(metric.help), text_datum(metric.label1_name),
                          text_datum(metric.label2_name)};
        bool nulls[5] = {};
        tuplestore_putvalues(result.store, result.descriptor, values, nulls);
    }
    return static_cast<Datum>(0);
}

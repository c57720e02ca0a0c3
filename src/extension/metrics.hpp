// Metrics: counted in backend memory while a transaction runs, added to shared memory when it commits.
//
//   add / observe / set --> frame of the (sub)transaction --commit--> table in shared memory --> snapshot
//                                  |
//                                  +--abort--> dropped
#pragma once

#include "extension/compat.hpp"
#include "extension/metric_catalog.hpp"

namespace sync_engine {

// Labels are cut to this many bytes less one, at a character's boundary.
inline constexpr int kMetricLabelSize = 96;
inline constexpr char kOtherLabel[] = "other";

// Unused label bytes are zero: the key is compared and hashed as bytes.
struct MetricKey {
    Oid database;
    int32 metric;
    char label1[kMetricLabelSize];
    char label2[kMetricLabelSize];
};
static_assert(sizeof(MetricKey) == 2 * sizeof(int32) + 2 * kMetricLabelSize, "no padding in a hash key");

struct MetricHistogram {
    double sum;
    uint64 count;
    uint64 buckets[kMaxMetricBounds + 1];
};

// What one transaction did to a series, and what a series holds.
struct MetricSample {
    MetricKey key;
    double value;                // counter: to be added; gauge: to be set
    MetricHistogram* histogram;  // of a histogram, else null
};

struct MetricSeries {
    MetricKey key;
    double value;
    MetricHistogram histogram;
};

// Makes a label 'other', unless the series has none or it is that already.
inline void fold_label(char (&label)[kMetricLabelSize]) {
    if (label[0] != '\0') {
        memset(label, 0, sizeof label);
        strlcpy(label, kOtherLabel, sizeof label);
    }
}

inline void add_histogram(MetricHistogram& total, const MetricHistogram& part) {
    total.sum += part.sum;
    total.count += part.count;
    for (std::size_t i = 0; i < std::size(total.buckets); ++i) {
        total.buckets[i] += part.buckets[i];
    }
}

// Reserves shared memory and chains the hooks. Called from _PG_init; does nothing without preloading.
void metrics_init();

// Whether there is shared memory to count in.
bool metrics_available();

// Adds the samples to shared memory. Never raises and never allocates: it runs when the commit is done.
void metrics_publish(const MetricSample* samples, int count);

// A palloc'd copy of this database's series; *count of them.
MetricSeries* metrics_copy(int* count);

// Removes the series of a database that is gone, or whose extension is. Raises nothing but what a lock can.
void metrics_forget_database(Oid database);

// Counts for the transaction that runs. The key is complete, value is finite.
void metrics_record(const MetricKey& key, double value);

}  // namespace sync_engine

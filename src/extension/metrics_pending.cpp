// What the running transaction has counted. Each subtransaction that counts something has a frame of its own,
// with a memory context of its own: dropped when it aborts, merged into its parent's when it commits.
#include "extension/metrics.hpp"
#include "extension/guc.hpp"

extern "C" {
#include "access/xact.h"
#include "common/hashfn.h"
#include "utils/memutils.h"
}

namespace sync_engine {
namespace {

constexpr int kFirstCapacity = 32;

// Samples in order of arrival, and an open-addressing index of twice as many slots, each a position plus one.
struct Frame {
    Frame* parent;
    int level;  // of the (sub)transaction, as GetCurrentTransactionNestLevel counts
    MemoryContext context;
    MetricSample* samples;
    uint32* slots;
    int count;
    int capacity;  // a power of two
};

Frame* top = nullptr;
bool callbacks_registered = false;

void* allocate_zero(MemoryContext context, std::size_t size) {
    return MemoryContextAllocExtended(context, size, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
}

uint32* find_slot(const Frame& frame, const MetricKey& key) {
    const uint32 mask = 2 * static_cast<uint32>(frame.capacity) - 1;
    uint32 slot = hash_bytes(reinterpret_cast<const unsigned char*>(&key), sizeof key) & mask;
    while (frame.slots[slot] != 0 &&
           memcmp(&frame.samples[frame.slots[slot] - 1].key, &key, sizeof key) != 0) {
        slot = (slot + 1) & mask;
    }
    return &frame.slots[slot];
}

void resize(Frame* frame, int capacity) {
    auto* samples = static_cast<MetricSample*>(
        allocate_zero(frame->context, static_cast<std::size_t>(capacity) * sizeof(MetricSample)));
    auto* slots = static_cast<uint32*>(
        allocate_zero(frame->context, 2 * static_cast<std::size_t>(capacity) * sizeof(uint32)));
    if (frame->count > 0) {
        memcpy(samples, frame->samples, static_cast<std::size_t>(frame->count) * sizeof(MetricSample));
        pfree(frame->samples);
        pfree(frame->slots);
    }
    frame->samples = samples;
    frame->slots = slots;
    frame->capacity = capacity;
    for (int i = 0; i < frame->count; ++i) {
        *find_slot(*frame, samples[i].key) = static_cast<uint32>(i) + 1;
    }
}

Frame* push_frame(int level) {
    MemoryContext context =
        AllocSetContextCreate(TopTransactionContext, "sync_engine pending metrics", ALLOCSET_SMALL_SIZES);
    auto* frame = static_cast<Frame*>(allocate_zero(context, sizeof(Frame)));
    frame->context = context;
    frame->level = level;
    frame->parent = top;
    resize(frame, kFirstCapacity);
    top = frame;
    return frame;
}

// The sample of a series, new and zero where there was none.
MetricSample* find_sample(Frame* frame, const MetricKey& key) {
    uint32* slot = find_slot(*frame, key);
    if (*slot != 0) {
        return &frame->samples[*slot - 1];
    }
    if (frame->count >= guc::max_metric_series) {
        // More than shared memory could hold by name: fold now, so that a huge transaction stays small.
        MetricKey folded = key;
        fold_label(folded.label1);
        fold_label(folded.label2);
        if (memcmp(&folded, &key, sizeof key) != 0) {
            return find_sample(frame, folded);
        }
    }
    if (frame->count == frame->capacity) {
        resize(frame, 2 * frame->capacity);
        slot = find_slot(*frame, key);
    }
    MetricHistogram* histogram = nullptr;
    if (kMetricCatalog[key.metric].kind == MetricKind::histogram) {
        histogram = static_cast<MetricHistogram*>(allocate_zero(frame->context, sizeof(MetricHistogram)));
    }
    MetricSample* sample = &frame->samples[frame->count++];
    *slot = static_cast<uint32>(frame->count);
    *sample = {key, 0.0, histogram};
    return sample;
}

void merge_into(Frame* target, const Frame& source) {
    for (int i = 0; i < source.count; ++i) {
        const MetricSample& from = source.samples[i];
        MetricSample* to = find_sample(target, from.key);
        if (kMetricCatalog[from.key.metric].kind == MetricKind::gauge) {
            to->value = from.value;
        } else {
            to->value += from.value;
        }
        if (from.histogram != nullptr) {
            add_histogram(*to->histogram, *from.histogram);
        }
    }
}

void drop_top() {
    Frame* frame = top;
    top = frame->parent;
    MemoryContextDelete(frame->context);
}

void on_subtransaction(SubXactEvent event, SubTransactionId, SubTransactionId, void*) {
    if (top == nullptr) {
        return;
    }
    const int level = GetCurrentTransactionNestLevel();
    switch (event) {
        case SUBXACT_EVENT_PRE_COMMIT_SUB:
            // Merging allocates, so it is done while an error can still be raised.
            if (top->level == level && top->parent != nullptr && top->parent->level == level - 1) {
                merge_into(top->parent, *top);
                drop_top();
            }
            break;
        case SUBXACT_EVENT_COMMIT_SUB:
            if (top->level == level) {
                top->level = level - 1;
            }
            break;
        case SUBXACT_EVENT_ABORT_SUB:
            while (top != nullptr && top->level >= level) {
                drop_top();
            }
            break;
        case SUBXACT_EVENT_START_SUB:
            break;
    }
}

void on_transaction(XactEvent event, void*) {
    if (event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_PARALLEL_PRE_COMMIT ||
        event == XACT_EVENT_PRE_PREPARE) {
        return;
    }
    // A prepared transaction is not counted: another process, or none, will commit it.
    if (event == XACT_EVENT_COMMIT && top != nullptr) {
        metrics_publish(top->samples, top->count);
    }
    // The frames themselves go with the transaction's memory.
    top = nullptr;
}

}  // namespace

void metrics_record(const MetricKey& key, double value) {
    if (!callbacks_registered) {
        RegisterXactCallback(on_transaction, nullptr);
        RegisterSubXactCallback(on_subtransaction, nullptr);
        callbacks_registered = true;
    }
    const int level = GetCurrentTransactionNestLevel();
    Frame* frame = top != nullptr && top->level == level ? top : push_frame(level);
    MetricSample* sample = find_sample(frame, key);
    const MetricDefinition& metric = kMetricCatalog[key.metric];
    switch (metric.kind) {
        case MetricKind::counter:
            sample->value += value;
            break;
        case MetricKind::gauge:
            sample->value = value;
            break;
        case MetricKind::histogram:
            sample->histogram->sum += value;
            sample->histogram->count += 1;
            sample->histogram->buckets[bucket_of(metric.bounds, value)] += 1;
            break;
    }
}

}  // namespace sync_engine

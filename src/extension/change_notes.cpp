// What the running transaction has changed of tenants that are watched. Each subtransaction that notes
// something has a frame of its own: dropped when it aborts, merged into its parent's when it commits.
#include "extension/change_ring.hpp"
#include "extension/shared_state.hpp"

extern "C" {
#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"
}

namespace sync_engine {
namespace {

// A transaction that changes more is told tenant by tenant, and one that does so of as many tenants again as
// a whole: reading all anew is cheaper then, and a bulk load must not fill memory, nor the ring.
constexpr int kMostChanges = 1024;
constexpr int kMostTenants = 1024;

struct Frame {
    Frame* parent;
    int level;  // of the (sub)transaction, as GetCurrentTransactionNestLevel counts
    MemoryContext context;
    ChangeSet changes;
    bool everything;
};

Frame* top = nullptr;
int pending = 0;  // in all frames
Unnoted unnoted = {};

Frame* push_frame(int level) {
    MemoryContext context =
        AllocSetContextCreate(TopTransactionContext, "sync_engine pending changes", ALLOCSET_SMALL_SIZES);
    auto* frame = static_cast<Frame*>(MemoryContextAllocZero(context, sizeof(Frame)));
    frame->context = context;
    frame->level = level;
    frame->changes = make_change_set(context);
    frame->parent = top;
    return top = frame;
}

Frame* frame_of_level() {
    const int level = GetCurrentTransactionNestLevel();
    return top != nullptr && top->level == level ? top : push_frame(level);
}

void add_pending(Frame* frame, Change change) {
    if (frame->everything) {
        return;
    }
    if (pending >= kMostChanges && !has_change(frame->changes, change)) {
        change = {change.database, ChangeKind::reset_tenant, change.tenant, 0, 0};
    }
    if (pending >= kMostChanges + kMostTenants && !has_change(frame->changes, change)) {
        frame->everything = true;
    } else if (add_change(&frame->changes, change)) {
        ++pending;
    }
}

void drop_top() {
    Frame* frame = top;
    top = frame->parent;
    MemoryContextDelete(frame->context);
}

void merge_top() {
    Frame* parent = top->parent;
    pending -= top->changes.count;
    parent->everything = parent->everything || top->everything;
    for (int i = 0; i < top->changes.count; ++i) {
        add_pending(parent, top->changes.items[i]);
    }
    drop_top();
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
                merge_top();
            }
            break;
        case SUBXACT_EVENT_COMMIT_SUB:
            if (top->level == level) {
                top->level = level - 1;
            }
            break;
        case SUBXACT_EVENT_ABORT_SUB:
            while (top != nullptr && top->level >= level) {
                pending -= top->changes.count;
                drop_top();
            }
            break;
        case SUBXACT_EVENT_START_SUB:
            break;
    }
}

// One wake-up a round: the flag stays until the worker begins the next.
void tell_worker() {
    lock_slots(LW_SHARED);
    DatabaseSlot* slot = find_slot(MyDatabaseId);
    if (slot != nullptr && pg_atomic_exchange_u32(&slot->changed, 1) == 0) {
        nudge_worker(slot);
    }
    unlock_slots();
}

void on_transaction(XactEvent event, void*) {
    switch (event) {
        case XACT_EVENT_COMMIT:
            if ((top != nullptr || unnoted.any) &&
                publish_changes(top != nullptr ? &top->changes : nullptr, top != nullptr && top->everything,
                                unnoted)) {
                tell_worker();
            }
            break;
        case XACT_EVENT_ABORT:
        case XACT_EVENT_PREPARE:
            // A prepared transaction is not told of: another process, or none, will commit it.
            break;
        default:
            return;
    }
    // The frames themselves go with the transaction's memory.
    top = nullptr;
    pending = 0;
    if (unnoted.any) {
        unnoted = {};
    }
}

}  // namespace

bool wants_changes() {
    if (!changes_available()) {
        return false;
    }
    if (!unnoted.any) {
        unnoted.any = true;
        unnoted.since = watches_begun();
    }
    if (!anybody_watches()) {
        unnoted.all = true;
        return false;
    }
    return true;
}

void note_change(ChangeKind kind, std::string_view tenant, std::int64_t connection, std::int64_t object) {
    if (!wants_changes()) {
        return;
    }
    const std::uint64_t hash = tenant_hash(tenant);
    if (!is_watched(hash)) {
        const int watch = watch_of(hash);
        unnoted.watches[watch / 64] |= std::uint64_t{1} << (watch % 64);
        return;
    }
    add_pending(frame_of_level(), {MyDatabaseId, kind, hash, connection, object});
}

void note_all_changed() {
    if (wants_changes()) {
        frame_of_level()->everything = true;
    }
}

void register_change_actions() {
    if (!process_shared_preload_libraries_in_progress) {
        return;
    }
    RegisterXactCallback(on_transaction, nullptr);
    RegisterSubXactCallback(on_subtransaction, nullptr);
}

}  // namespace sync_engine

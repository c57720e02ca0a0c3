// What has changed lately for tenants that somebody watches: a ring in shared memory, and who is watched.
//
//   note_change --> set of the (sub)transaction --commit--> ring --> sync.read_changes
//                          |                                  |
//                          +--abort--> dropped                +--> worker --> NOTIFY
//
// A change is appended when its transaction has committed and others see it. Who reads the ring first and the
// tables then sees at least what the ring told of, and no entry appears before one that was read already.
#pragma once

#include <string_view>

#include "extension/change_set.hpp"

namespace sync_engine {

// Reserves shared memory. Called from _PG_init; does nothing without preloading.
void changes_init();

// Whether there is a ring that changes get into: not without preloading, nor on a standby.
bool changes_available();

// By which the changes of a tenant of this database are told from others'. The same after a restart.
std::uint64_t tenant_hash(std::string_view tenant);

// Tells positions of this start of the server from those of others.
std::uint64_t ring_epoch();

// How many changes the ring has been given.
std::uint64_t ring_position();

// Watches a tenant for so long, or goes on doing so; returns the ring's position. What commits from now on is
// told, also by transactions that have begun before.
std::uint64_t watch_tenant(std::uint64_t tenant, std::int64_t ms);

// How many watches have begun, ever. To be read before the two below.
std::uint64_t watches_begun();
// Whether any tenant is watched, in any database. Costs next to nothing.
bool anybody_watches();
bool is_watched(std::uint64_t tenant);

inline constexpr int kWatches = 1024;

// Which watches a transaction has passed by since so many of them had begun.
struct Unnoted {
    bool any;
    bool all;
    std::uint64_t since;  // watches_begun
    std::uint64_t watches[kWatches / 64];
};
int watch_of(std::uint64_t tenant);

// Appends what a transaction did that has committed. Raises nothing and allocates nothing. For watches that
// have begun since it passed them by, it appends that all may have changed. Returns whether it appended.
bool publish_changes(const ChangeSet* changes, bool everything, const Unnoted& unnoted);

// Whether the tenant has been watched since that position without a gap. Sets *position to the ring's, *last
// to where the last change of the tenant's watch is.
bool look_for_changes(std::uint64_t tenant, std::uint64_t after, std::uint64_t* position,
                      std::uint64_t* last);

inline constexpr int kChunk = 512;

struct PlacedChange {
    Change change;
    std::uint64_t position;  // after it
};

// Copies changes of one watch, the latest first, from *last back to `after`, or as many as fit, and moves
// *last. False where some are overwritten.
bool copy_changes_back(std::uint64_t* last, std::uint64_t after, PlacedChange (&chunk)[kChunk], int* count);

// Copies the next changes from `from` on and before `until`, of all tenants and databases; false where they
// are overwritten.
bool copy_changes(std::uint64_t from, std::uint64_t until, Change (&chunk)[kChunk], int* count);

// Notes for the transaction that runs. Does nothing where nobody watches the tenant.
void note_change(ChangeKind kind, std::string_view tenant, std::int64_t connection, std::int64_t object);
// The same, of everything in this database.
void note_all_changed();
// Whether it is worth the while to find out what note_change has to be told.
bool wants_changes();

// For _PG_init; does nothing without preloading.
void register_change_actions();

}  // namespace sync_engine

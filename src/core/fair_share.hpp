// Who is served next where many wait: in proportion to weights, and none forgotten. Start-time fair queueing
// (Goyal, Vin, Cheng, 1996) with a job as the unit: each account has a pass, the virtual time at which its
// next job starts; the lowest pass is served and moves on by 1 / weight; whoever comes from idleness starts
// at the clock, which is the pass served last. So an account's first job waits, of each other account's,
// for no more jobs than fit into the time between the clock and the clock's next move: at most
// ceil(other's weight / own weight) + 1.
//
// Plain data, for shared memory.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sync_engine {

// An account of a queue (both hashes); key 0: free.
struct FairAccount {
    std::uint64_t queue;
    std::uint64_t key;
    double pass;
};

inline constexpr std::size_t kFairAccounts = 16384;  // a power of 2

// All zero at first. When it is full, all is forgotten: everybody is as if new, which favours nobody.
struct FairTable {
    std::size_t used;
    FairAccount accounts[kFairAccounts];
};

void forget_shares(FairTable* table);

// One that waits in a queue.
struct FairWaiter {
    std::uint64_t key;  // above 1
    double weight;      // > 0
    int most;           // jobs that it can be given, >= 0
    int given;          // result
    double tag;         // used within
};

// Gives out up to `wanted` jobs of a queue among `count` waiters, of equal ones to the first, and charges
// them. `scratch` has room for `count` numbers; the queue's hash is not 0. Returns how many were given.
int share_fairly(FairTable* table, std::uint64_t queue, FairWaiter* waiters, int count, int wanted,
                 int* scratch);

// Takes back what was charged for jobs that were not there. `jobs` <= what was given.
void refund_share(FairTable* table, std::uint64_t queue, std::uint64_t key, double weight, int jobs);

}  // namespace sync_engine

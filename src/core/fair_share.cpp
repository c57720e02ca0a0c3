#include "core/fair_share.hpp"

#include <algorithm>

namespace sync_engine {
namespace {

// The account that holds a queue's clock.
constexpr std::uint64_t kClock = 1;
constexpr std::size_t kMostUsed = kFairAccounts / 4 * 3;

std::size_t place_of(std::uint64_t queue, std::uint64_t key) {
    // Both are hashes; the constant (Knuth's) tells (a, b) from (b, a).
    const std::uint64_t mixed = (queue * 0x9E3779B97F4A7C15ULL) ^ key;
    return static_cast<std::size_t>(mixed ^ (mixed >> 32U)) & (kFairAccounts - 1);
}

FairAccount* find_account(FairTable* table, std::uint64_t queue, std::uint64_t key) {
    std::size_t place = place_of(queue, key);
    while (table->accounts[place].key != 0) {
        FairAccount* account = &table->accounts[place];
        if (account->queue == queue && account->key == key) {
            return account;
        }
        place = (place + 1) & (kFairAccounts - 1);
    }
    return nullptr;
}

double pass_of(FairTable* table, std::uint64_t queue, std::uint64_t key) {
    const FairAccount* account = find_account(table, queue, key);
    return account == nullptr ? 0.0 : account->pass;
}

// Room for so many more accounts, if there can be.
void make_room(FairTable* table, std::size_t accounts) {
    if (table->used + accounts > kMostUsed) {
        forget_shares(table);
    }
}

// Where there is no room, it is as if new the next time.
void set_pass(FairTable* table, std::uint64_t queue, std::uint64_t key, double pass) {
    FairAccount* account = find_account(table, queue, key);
    if (account == nullptr) {
        if (table->used >= kMostUsed) {
            return;
        }
        std::size_t place = place_of(queue, key);
        while (table->accounts[place].key != 0) {
            place = (place + 1) & (kFairAccounts - 1);
        }
        account = &table->accounts[place];
        *account = {queue, key, 0.0};
        ++table->used;
    }
    account->pass = pass;
}

struct Later {
    const FairWaiter* waiters;
    bool operator()(int a, int b) const {
        return waiters[a].tag != waiters[b].tag ? waiters[a].tag > waiters[b].tag : a > b;
    }
};

// `heap` has room for `count`.
int give_out(FairWaiter* waiters, int count, int wanted, int* heap, double* clock) {
    const Later later = {waiters};
    int size = 0;
    for (int i = 0; i < count; ++i) {
        if (waiters[i].most > 0) {
            heap[size++] = i;
        }
    }
    std::make_heap(heap, heap + size, later);
    int given = 0;
    while (given < wanted && size > 0) {
        std::pop_heap(heap, heap + size, later);
        FairWaiter& next = waiters[heap[size - 1]];
        *clock = next.tag;
        next.tag += 1.0 / next.weight;
        ++given;
        if (++next.given < next.most) {
            std::push_heap(heap, heap + size, later);
        } else {
            --size;
        }
    }
    return given;
}

}  // namespace

void forget_shares(FairTable* table) {
    table->used = 0;
    std::fill_n(table->accounts, kFairAccounts, FairAccount{0, 0, 0.0});
}

int share_fairly(FairTable* table, std::uint64_t queue, FairWaiter* waiters, int count, int wanted,
                 int* scratch) {
    // Before any is read: passes of before and after would not go together.
    make_room(table, static_cast<std::size_t>(std::max(0, std::min(wanted, count))) + 1);
    double clock = pass_of(table, queue, kClock);
    for (int i = 0; i < count; ++i) {
        waiters[i].given = 0;
        waiters[i].tag = std::max(clock, pass_of(table, queue, waiters[i].key));
    }
    const int given = give_out(waiters, count, wanted, scratch, &clock);
    if (given > 0) {
        set_pass(table, queue, kClock, clock);
    }
    for (int i = 0; i < count; ++i) {
        if (waiters[i].given > 0) {
            set_pass(table, queue, waiters[i].key, waiters[i].tag);
        }
    }
    return given;
}

void refund_share(FairTable* table, std::uint64_t queue, std::uint64_t key, double weight, int jobs) {
    if (FairAccount* account = find_account(table, queue, key)) {
        account->pass -= jobs / weight;
    }
}

}  // namespace sync_engine

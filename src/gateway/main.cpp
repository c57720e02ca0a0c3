// sync-gateway: the HTTP API of a sync_engine database for its tenants.
#include <cstdio>

int main() {
    std::puts("sync-gateway " SYNC_ENGINE_VERSION);
    return 0;
}

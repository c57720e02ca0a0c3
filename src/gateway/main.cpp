// sync-gateway: the HTTP API of a sync_engine database for its tenants.
#include "gateway/program.hpp"
#include "gateway/service.hpp"

int main(int argc, char** argv) {
    return sync_engine::gateway_main(argc, argv, sync_engine::make_service);
}

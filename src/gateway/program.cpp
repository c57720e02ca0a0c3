#include "gateway/program.hpp"

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <vector>

namespace sync_engine {

int gateway_main(int argc, char** argv, const HandlerFactory& make_handler) {
    try {
        const std::vector<std::string> arguments(argv + 1, argv + argc);
        const GatewayOptions options = parse_gateway_options(arguments, process_sources());
        if (options.show_help) {
            std::fputs(gateway_help_text().c_str(), stdout);
            return EXIT_SUCCESS;
        }
        if (options.show_version) {
            std::puts("sync-gateway " SYNC_ENGINE_VERSION);
            return EXIT_SUCCESS;
        }
        return run_gateway(options, make_handler);
    } catch (const OptionError& error) {
        std::fprintf(stderr, "sync-gateway: %s\n", error.what());
        return 2;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "sync-gateway: %s\n", error.what());
        return EXIT_FAILURE;
    }
}

}  // namespace sync_engine

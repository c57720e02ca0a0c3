// sync-executor: claims the jobs of a sync_engine database, runs their connectors and hands the results back.
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <vector>

#include "executor/application.hpp"
#include "executor/options.hpp"

int main(int argc, char** argv) {
    using namespace sync_engine;
    try {
        const std::vector<std::string> arguments(argv + 1, argv + argc);
        const Options options = parse_options(arguments, process_sources());
        if (options.show_help) {
            std::fputs(help_text().c_str(), stdout);
            return EXIT_SUCCESS;
        }
        if (options.show_version) {
            std::puts("sync-executor " SYNC_ENGINE_VERSION);
            return EXIT_SUCCESS;
        }
        return run_executor(options);
    } catch (const OptionError& error) {
        std::fprintf(stderr, "sync-executor: %s\n", error.what());
        return 2;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "sync-executor: %s\n", error.what());
        return EXIT_FAILURE;
    }
}

#include "executor/options.hpp"

#include "executor/option_table.hpp"

namespace sync_engine {

namespace {

constexpr OptionProgram kProgram{
    "SYNC_EXECUTOR_",
    "sync-executor claims the jobs of a sync_engine database, calls the APIs and hands the signals back.\n\n"
    "Usage: sync-executor [options]\n\n"
    "Each option can also be set in the environment (--drain-seconds as SYNC_EXECUTOR_DRAIN_SECONDS) or in a "
    "config\nfile (drain-seconds = 30). The command line wins over the environment, that over the file.\n\n"};

}  // namespace

Options parse_options(std::span<const std::string> arguments, const OptionSources& sources) {
    return parse_options_by(kProgram, option_table(), arguments, sources);
}

std::string help_text() {
    return options_help(kProgram, option_facts(option_table()));
}

}  // namespace sync_engine

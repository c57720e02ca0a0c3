#pragma once

// Options of a program from its command line, its environment and a config file, by one table that --help
// follows too.

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace sync_engine {

// Why a value cannot be used; empty when it was taken.
using OptionProblem = std::string;

// One option of a program whose options are a Target.
template <class Target>
struct BasicOptionSpec {
    std::string_view name;
    std::string_view alias;
    std::string_view metavar;   // empty: a switch that needs no value on the command line
    std::string_view fallback;  // empty: stays unset
    bool is_list;
    bool hidden;
    OptionProblem (*set)(Target&, std::string_view);
    std::string_view help;
    bool is_secret = false;  // refused on the command line, which every user of the machine can read
};

// A flag, variable or config line that cannot be used; what() names it and says why.
class OptionError : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

// Where options are read from; replaced in tests.
struct OptionSources {
    std::function<std::optional<std::string>(const std::string& name)> environment;
    std::function<std::optional<std::string>(const std::string& path)> read_file;
};

// The process's environment and file system.
OptionSources process_sources();

// Whether a libpq connection string holds a password.
bool has_password(const std::string& database_url);

struct OptionProgram {
    std::string_view variable_prefix;  // "SYNC_EXECUTOR_"
    std::string_view help_intro;       // --help above the options, which it ends with an empty line
};

// What is independent of the type of the options: internal to the templates below.
struct OptionFacts {
    std::string_view name;
    std::string_view alias;
    std::string_view metavar;
    std::string_view fallback;
    bool is_list = false;
    bool hidden = false;
    std::string_view help;
    bool is_secret = false;
};

struct GivenOption {
    std::size_t option = 0;           // place in the table
    std::vector<std::string> values;  // of the strongest place that gives it
    std::string label;                // how to name that place in an error
};

struct GivenOptions {
    bool help = false;
    bool version = false;
    std::vector<GivenOption> options;  // in the table's order; nothing where help or version is asked for
};

GivenOptions read_options(const OptionProgram& program, std::span<const OptionFacts> table,
                          std::span<const std::string> arguments, const OptionSources& sources);

std::string options_help(const OptionProgram& program, std::span<const OptionFacts> table);

template <class Target>
std::vector<OptionFacts> option_facts(std::span<const BasicOptionSpec<Target>> table) {
    std::vector<OptionFacts> facts;
    for (const auto& s : table) {
        facts.push_back({s.name, s.alias, s.metavar, s.fallback, s.is_list, s.hidden, s.help, s.is_secret});
    }
    return facts;
}

// `arguments` without the program's name. The command line wins over the environment, the environment over
// the config file, the file over the defaults; a list given in one place replaces the list of a weaker place.
// Target has show_help and show_version: where one is set, nothing else is. Throws OptionError.
template <class Target>
Target parse_options_by(const OptionProgram& program, std::span<const BasicOptionSpec<Target>> table,
                        std::span<const std::string> arguments, const OptionSources& sources) {
    const GivenOptions given = read_options(program, option_facts(table), arguments, sources);
    Target target;
    target.show_help = given.help;
    target.show_version = given.version;
    if (given.help || given.version) {
        return target;
    }
    auto next = given.options.begin();
    for (std::size_t at = 0; at < table.size(); ++at) {
        if (next == given.options.end() || next->option != at) {
            if (!table[at].fallback.empty()) {
                table[at].set(target, table[at].fallback);
            }
            continue;
        }
        for (const std::string& value : next->values) {
            if (const OptionProblem problem = table[at].set(target, value); !problem.empty()) {
                throw OptionError(next->label + ": " + problem);
            }
        }
        ++next;
    }
    return target;
}

}  // namespace sync_engine

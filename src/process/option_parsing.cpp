#include "process/option_parsing.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>

#include <libpq-fe.h>

#include "connectors/ascii.hpp"
#include "process/pg_handles.hpp"

namespace sync_engine {

namespace {

using Table = std::span<const OptionFacts>;

const OptionFacts* find_option(Table table, std::string_view name) {
    const auto found = std::find_if(table.begin(), table.end(), [&](const OptionFacts& option) {
        return option.name == name || (!option.alias.empty() && option.alias == name);
    });
    return found == table.end() ? nullptr : &*found;
}

std::string variable_name(const OptionProgram& program, std::string_view option) {
    std::string name(program.variable_prefix);
    for (const char c : option) {
        name += c == '-' ? '_' : static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
    }
    return name;
}

// One place options come from: values by option, and how to name the place in an error.
struct Source {
    std::map<const OptionFacts*, std::vector<std::string>> values;
    std::function<std::string(const OptionFacts&)> label;
};

void put(Source& source, const OptionFacts& option, std::string value) {
    auto& values = source.values[&option];
    if (!option.is_list) {
        values.clear();
    }
    values.push_back(std::move(value));
}

struct CommandLine {
    Source source;
    std::string config_path;
    bool help = false;
    bool version = false;
};

std::string take_value(std::string_view flag, const std::optional<std::string>& attached,
                       std::span<const std::string> arguments, std::size_t& at) {
    if (attached) {
        return *attached;
    }
    if (at + 1 >= arguments.size()) {
        throw OptionError("--" + std::string(flag) + " needs a value");
    }
    return arguments[++at];
}

CommandLine read_command_line(Table table, std::span<const std::string> arguments) {
    CommandLine line;
    line.source.label = [](const OptionFacts& option) { return "--" + std::string(option.name); };
    for (std::size_t at = 0; at < arguments.size(); ++at) {
        const std::string& argument = arguments[at];
        if (argument == "-h" || argument == "--help") {
            line.help = true;
            continue;
        }
        if (argument == "-V" || argument == "--version") {
            line.version = true;
            continue;
        }
        if (!argument.starts_with("--")) {
            throw OptionError("'" + argument + "' is not an option; see --help");
        }
        const std::size_t equals = argument.find('=');
        const std::string flag = argument.substr(2, equals == std::string::npos ? equals : equals - 2);
        std::optional<std::string> attached;
        if (equals != std::string::npos) {
            attached = argument.substr(equals + 1);
        }
        if (flag == "config") {
            line.config_path = take_value(flag, attached, arguments, at);
            continue;
        }
        const OptionFacts* option = find_option(table, flag);
        if (option == nullptr) {
            throw OptionError("there is no option --" + flag + "; see --help");
        }
        put(line.source, *option,
            option->metavar.empty() ? attached.value_or("on") : take_value(flag, attached, arguments, at));
    }
    return line;
}

// Of a command line, which is visible to every user of the machine.
void refuse_passwords(const OptionProgram& program, const Source& arguments) {
    constexpr const char* kVisible =
        ": a password on the command line is visible to every user of this machine; use ";
    for (const auto& [option, values] : arguments.values) {
        const std::string flag = "--" + std::string(option->name);
        if (option->is_secret) {
            throw OptionError(flag + kVisible + variable_name(program, option->name) + ", " + flag +
                              "-file or --config");
        }
        if (option->name == "database-url" && has_password(values.back())) {
            throw OptionError(flag + kVisible + variable_name(program, option->name) +
                              ", PGPASSWORD, a password file or --config");
        }
    }
}

Source read_environment(const OptionProgram& program, Table table, const OptionSources& sources) {
    Source source;
    source.label = [&program](const OptionFacts& option) { return variable_name(program, option.name); };
    for (const OptionFacts& option : table) {
        for (const std::string_view name : {option.alias, option.name}) {
            auto value = name.empty() ? std::nullopt : sources.environment(variable_name(program, name));
            if (value && !value->empty()) {
                put(source, option, std::move(*value));
            }
        }
    }
    return source;
}

Source read_config_file(Table table, const std::string& path, const OptionSources& sources) {
    Source source;
    source.label = [path](const OptionFacts& option) { return std::string(option.name) + " in " + path; };
    if (path.empty()) {
        return source;
    }
    const auto content = sources.read_file(path);
    if (!content) {
        throw OptionError("cannot read the config file " + path);
    }
    std::istringstream stream(*content);
    int number = 0;
    for (std::string raw; std::getline(stream, raw);) {
        ++number;
        const std::string_view line = trimmed(raw, " \t\r");
        if (line.empty() || line.front() == '#') {
            continue;
        }
        const std::string where = path + " line " + std::to_string(number);
        const std::size_t equals = line.find('=');
        if (equals == std::string::npos) {
            throw OptionError(where + ": expected key = value");
        }
        std::string key(trimmed(line.substr(0, equals)));
        std::replace(key.begin(), key.end(), '_', '-');
        const OptionFacts* option = find_option(table, key);
        if (option == nullptr) {
            throw OptionError(where + ": there is no option '" + key + "'");
        }
        put(source, *option, std::string(trimmed(line.substr(equals + 1))));
    }
    return source;
}

void append_wrapped(std::string& out, std::string_view text, std::size_t indent, std::size_t width) {
    std::istringstream words{std::string(text)};
    std::size_t column = 0;
    for (std::string word; words >> word;) {
        if (column == 0 || column + 1 + word.size() > width) {
            out += column == 0 ? "" : "\n";
            out.append(indent, ' ');
            column = indent;
        } else {
            out += ' ';
            ++column;
        }
        out += word;
        column += word.size();
    }
    out += '\n';
}

}  // namespace

OptionSources process_sources() {
    OptionSources sources;
    sources.environment = [](const std::string& name) -> std::optional<std::string> {
        const char* value = std::getenv(name.c_str());
        return value == nullptr ? std::nullopt : std::optional<std::string>(value);
    };
    sources.read_file = [](const std::string& path) -> std::optional<std::string> {
        std::ifstream file(path, std::ios::binary);
        std::ostringstream content;
        content << file.rdbuf();
        return file.is_open() && !file.bad() ? std::optional(content.str()) : std::nullopt;
    };
    return sources;
}

GivenOptions read_options(const OptionProgram& program, Table table, std::span<const std::string> arguments,
                          const OptionSources& sources) {
    CommandLine line = read_command_line(table, arguments);
    GivenOptions given{line.help, line.version, {}};
    if (line.help || line.version) {
        return given;
    }
    refuse_passwords(program, line.source);
    if (line.config_path.empty()) {
        line.config_path = sources.environment(variable_name(program, "config")).value_or("");
    }
    const Source environment = read_environment(program, table, sources);
    const Source file = read_config_file(table, line.config_path, sources);
    const std::array<const Source*, 3> strongest_first{&line.source, &environment, &file};
    for (std::size_t at = 0; at < table.size(); ++at) {
        for (const Source* source : strongest_first) {
            const auto found = source->values.find(&table[at]);
            if (found != source->values.end()) {
                given.options.push_back({at, found->second, source->label(table[at])});
                break;
            }
        }
    }
    return given;
}

std::string options_help(const OptionProgram& program, Table table) {
    std::string out(program.help_intro);
    out += "  --config FILE\n      Config file of key = value lines; '#' begins a comment line.\n";
    for (const OptionFacts& option : table) {
        if (option.hidden) {
            continue;
        }
        out += "  --" + std::string(option.name);
        out += option.metavar.empty() ? "" : " " + std::string(option.metavar);
        out += '\n';
        std::string text(option.help);
        if (!option.fallback.empty()) {
            text += " Default: " + std::string(option.fallback) + ".";
        }
        append_wrapped(out, text, 6, 100);
    }
    out += "  --help, --version\n";
    return out;
}

bool has_password(const std::string& database_url) {
    const PgConninfo parsed(PQconninfoParse(database_url.c_str(), nullptr));
    for (const PQconninfoOption* o = parsed.get(); o != nullptr && o->keyword != nullptr; ++o) {
        const std::string_view keyword = o->keyword;
        if ((keyword == "password" || keyword == "sslpassword") && o->val != nullptr && *o->val != '\0') {
            return true;
        }
    }
    return false;
}

}  // namespace sync_engine

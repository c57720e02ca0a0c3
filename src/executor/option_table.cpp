#include "executor/option_table.hpp"

#include <algorithm>
#include <array>
#include <vector>

#include "executor/option_values.hpp"

namespace sync_engine {

namespace {

OptionProblem set_prefetch(Options& o, std::string_view text) {
    if (text == "auto") {
        o.prefetch.reset();
        return {};
    }
    int jobs = 0;
    OptionProblem problem = set_integer(jobs, text, 0, 1000);
    o.prefetch = jobs;
    return problem.empty() ? problem : "must be auto or a whole number from 0 to 1000";
}

bool is_variable_name(std::string_view name) {
    const auto allowed = [](char c) {
        return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
    };
    return !name.empty() && std::all_of(name.begin(), name.end(), allowed);
}

OptionProblem add_secret_env(Options& o, std::string_view text) {
    const auto items = parse_host_bound_list(text);
    if (!items || items->empty()) {
        return "must be NAME or NAME@host[,host...]";
    }
    for (const auto& [name, hosts] : *items) {
        if (!is_variable_name(name)) {
            return "'" + name + "' is not the name of an environment variable";
        }
        // The executor's own credentials are never a connection's business.
        if (name.starts_with("PG") || name.starts_with("SYNC_EXECUTOR_")) {
            return "'" + name + "' belongs to the executor itself and cannot be given to connections";
        }
        o.secret_env.push_back({name, hosts});
    }
    return {};
}

OptionProblem add_secret_dir(Options& o, std::string_view text) {
    const auto items = parse_host_bound_list(text);
    if (!items || items->empty()) {
        return "must be DIR or DIR@host[,host...]";
    }
    for (const auto& [path, hosts] : *items) {
        o.secret_dirs.push_back({path, hosts});
    }
    return {};
}

OptionProblem set_metrics_address(Options& o, std::string_view text) {
    const std::size_t colon = text.rfind(':');
    int port = 0;
    if (colon == std::string_view::npos || !set_integer(port, text.substr(colon + 1), 0, 65535).empty()) {
        return "must be host:port";
    }
    o.metrics_address = text;
    return {};
}

using Text = std::string_view;

constexpr std::array kSpecs{
    OptionSpec{"database-url", "dsn", "URL", "", false, false,
               [](Options& o, Text v) { return set_database(o.database_url, v); },
               "Database to work for: postgresql://user@host/db or key=value pairs. Without it the PG* "
               "variables count."},
    OptionSpec{
        "name", "", "NAME", "", false, false,
        [](Options& o, Text v) {
            o.name = v;
            return v.empty() || v.size() > 100 ? OptionProblem("must have 1 to 100 characters")
                                               : OptionProblem();
        },
        "Name of this executor. When one of the same name starts anew, jobs its predecessor held are retried "
        "at once, so give each its own and keep it. Default: host name and process id."},
    OptionSpec{"concurrency", "", "N", "64", false, false,
               [](Options& o, Text v) { return set_integer(o.concurrency, v, 1, 10000); },
               "Jobs in flight at a time."},
    OptionSpec{"batch-size", "", "N", "1000", false, false,
               [](Options& o, Text v) { return set_integer(o.batch_size, v, 1, 1000); },
               "Most jobs in one claim and most results in one transaction."},
    OptionSpec{
        "prefetch", "", "auto|N", "auto", false, false, set_prefetch,
        "Jobs claimed beyond the free slots: at most N that are expected to start within one heartbeat, "
        "or as many as are expected to start within 0.1 seconds."},
    OptionSpec{"connections", "", "N", "2", false, false,
               [](Options& o, Text v) { return set_integer(o.connections, v, 1, 16); },
               "Database connections for work: with two, a claim and a completion go on at once."},
    OptionSpec{"once", "", "", "off", false, false, [](Options& o, Text v) { return set_switch(o.once, v); },
               "Work off what is due, then exit with status 0."},
    OptionSpec{
        "tick", "", "", "off", false, false, [](Options& o, Text v) { return set_switch(o.tick, v); },
        "Also enqueue what is due, every tick interval: for servers that cannot preload the extension. "
        "Harmless beside the background worker."},
    OptionSpec{
        "wake-up", "", "on|off", "on", false, false,
        [](Options& o, Text v) { return set_switch(o.wake_up, v); },
        "Keep a second connection that the database wakes when work arrives. Without it, or where it cannot "
        "work, the executor polls."},
    OptionSpec{"poll-seconds", "", "S", "5", false, false,
               [](Options& o, Text v) { return set_number(o.poll_seconds, v, 0.05, 3600, "seconds"); },
               "Longest sleep between two looks for work."},
    OptionSpec{"heartbeat-seconds", "", "S", "15", false, false,
               [](Options& o, Text v) { return set_number(o.heartbeat_seconds, v, 0.1, 3600, "seconds"); },
               "Time between heartbeats; a third of sync_engine.lease_seconds where that is less."},
    OptionSpec{
        "drain-seconds", "", "S", "30", false, false,
        [](Options& o, Text v) { return set_number(o.drain_seconds, v, 0, 86400, "seconds"); },
        "After SIGTERM or SIGINT, how long running jobs may finish before they are handed back. A second "
        "signal exits at once."},
    OptionSpec{
        "allow-secret-env", "", "NAME[@HOST,...]", "", true, false, add_secret_env,
        "Environment variable that {\"$env\": \"NAME\"} in a config may name, for requests to these hosts "
        "(*.example.com matches below it; none given: any host). Repeatable."},
    OptionSpec{"secret-dir", "", "DIR[@HOST,...]", "", true, false, add_secret_dir,
               "Directory whose files {\"$file\": \"name\"} in a config may name, for requests to these "
               "hosts. Repeatable."},
    OptionSpec{"allow-private-addresses", "", "RULE", "", true, false,
               [](Options& o, Text v) { return add_addresses(o.allowed_addresses, v); },
               "Internal addresses that connectors may reach: loopback, private, all, an address or a block "
               "(10.1.0.0/16). Repeatable. Without it only global addresses."},
    OptionSpec{"max-body-bytes", "", "N", "16777216", false, false,
               [](Options& o, Text v) { return set_bytes(o.max_body_bytes, v, 1024, 1024.0 * 1024 * 1024); },
               "Longest reply, decoded, that is read from an API."},
    OptionSpec{"ca-file", "", "FILE", "", false, false,
               [](Options& o, Text v) { return set_text(o.ca_file, v); },
               "Certificate authorities to trust instead of the system's (PEM)."},
    OptionSpec{"user-agent", "", "TEXT", "sync-executor/" SYNC_ENGINE_VERSION, false, false,
               [](Options& o, Text v) {
                   o.user_agent = v;
                   const bool printable =
                       std::all_of(v.begin(), v.end(), [](char c) { return c >= ' ' && c <= '~'; });
                   return printable ? OptionProblem() : OptionProblem("must be printable ASCII");
               },
               "User-Agent of requests whose connector sets none."},
    OptionSpec{"metrics-address", "", "HOST:PORT", "", false, false, set_metrics_address,
               "Serve Prometheus metrics there under /metrics."},
    OptionSpec{"log-level", "", "LEVEL", "info", false, false,
               [](Options& o, Text v) { return set_level(o.log_level, v); },
               "debug, info, warn or error; one JSON object a line on standard error."},
    OptionSpec{"test-stop-at", "", "STEP", "", false, true,
               [](Options& o, Text v) { return set_text(o.test_stop_at, v); },
               "For the project's tests: the process kills itself at this step."},
};

}  // namespace

std::span<const OptionSpec> option_table() {
    static const std::vector<OptionSpec> table = [] {
        std::vector<OptionSpec> all(kSpecs.begin(), kSpecs.end());
        const auto more = delivery_options();
        all.insert(all.end(), more.begin(), more.end());
        return all;
    }();
    return table;
}

}  // namespace sync_engine

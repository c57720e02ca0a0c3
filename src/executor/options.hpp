#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "executor/secret_rules.hpp"
#include "executor/smtp_client.hpp"
#include "process/log.hpp"
#include "process/option_parsing.hpp"

namespace sync_engine {

// What --help, the environment (SYNC_EXECUTOR_*) and the config file can set. The defaults are in the one
// table of option_table.hpp, which parsing, --help and docs/executor.md share.
struct Options {
    std::string database_url;     // libpq URL or key=value string; empty: PG* variables and libpq's defaults
    std::string name;             // empty: host name and process id
    int concurrency = 0;          // jobs that may be in flight, 1..10000
    int batch_size = 0;           // most jobs in one claim or one complete, 1..1000
    std::optional<int> prefetch;  // jobs claimed beyond the free slots, 0..1000; none: by how short jobs are
    int connections = 0;          // to the database, for work, 1..16
    bool once = false;
    bool tick = false;
    bool wake_up = false;
    double poll_seconds = 0;
    double heartbeat_seconds = 0;
    double drain_seconds = 0;
    std::vector<SecretEnvRule> secret_env;
    std::vector<SecretDirRule> secret_dirs;
    std::vector<std::string> allowed_addresses;  // rules that AddressPolicy::allow accepts
    std::size_t max_body_bytes = 0;              // of one reply, decoded
    std::string ca_file;
    std::string user_agent;
    bool deliver = false;
    int delivery_concurrency = 0;                // deliveries that may be in flight, 1..1000
    std::vector<std::string> webhook_addresses;  // as allowed_addresses, for webhooks
    std::string smtp_url;                        // empty: no mails
    SmtpTls smtp_tls = SmtpTls::required;
    std::string smtp_user;
    std::string smtp_password;
    std::string smtp_password_file;  // empty: smtp_password counts
    std::optional<Mailbox> mail_from;
    std::string unsubscribe_url;
    std::string metrics_address;
    LogLevel log_level = LogLevel::info;
    std::string test_stop_at;

    bool show_help = false;
    bool show_version = false;
};

// `arguments` without the program's name. The command line wins over the environment, the environment over
// the config file, the file over the defaults; a list given in one place replaces the list of a weaker place.
// Throws OptionError.
Options parse_options(std::span<const std::string> arguments, const OptionSources& sources);

// The text of --help.
std::string help_text();

}  // namespace sync_engine

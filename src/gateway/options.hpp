#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "process/ip_address.hpp"
#include "process/log.hpp"
#include "process/option_parsing.hpp"

namespace sync_engine {

// What --help, the environment (SYNC_GATEWAY_*) and the config file can set. The defaults are in the one
// table of options.cpp, which parsing, --help and docs/gateway.md share. Times are seconds.
struct GatewayOptions {
    std::string listen_host;
    std::uint16_t listen_port = 0;  // 0: any that is free
    std::string database_url;  // libpq URL or key=value string; empty: PG* variables and libpq's defaults
    int db_connections = 0;    // 1..100
    std::string public_url;    // as clients see this gateway, for the addresses of hooks
    std::string tls_cert;      // files; both or neither
    std::string tls_key;
    std::vector<AddressBlock> trusted_proxies;
    std::size_t max_header_bytes = 0;
    std::size_t max_body_bytes = 0;
    double header_timeout = 0;
    double body_timeout = 0;
    double idle_timeout = 0;
    double write_timeout = 0;
    double request_timeout = 0;
    int max_connections = 0;
    int max_connections_per_client = 0;
    int max_requests_per_connection = 0;
    double drain_seconds = 0;
    std::string metrics_token;  // for /metrics; empty: by address
    std::vector<AddressBlock>
        metrics_allow;  // who may read it without; empty: loopback and private addresses
    LogLevel log_level = LogLevel::info;

    bool show_help = false;
    bool show_version = false;
};

using GatewayOptionSpec = BasicOptionSpec<GatewayOptions>;

// The one place that knows the options.
std::span<const GatewayOptionSpec> gateway_option_table();

// As parse_options_by says. Throws OptionError.
GatewayOptions parse_gateway_options(std::span<const std::string> arguments, const OptionSources& sources);

// The text of --help.
std::string gateway_help_text();

}  // namespace sync_engine

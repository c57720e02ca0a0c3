#include "gateway/options.hpp"

#include <array>

#include "process/option_values.hpp"

namespace sync_engine {

namespace {

constexpr OptionProgram kProgram{
    "SYNC_GATEWAY_",
    "sync-gateway serves the HTTP API of a sync_engine database to its tenants.\n\n"
    "Usage: sync-gateway [options]\n\n"
    "Each option can also be set in the environment (--drain-seconds as SYNC_GATEWAY_DRAIN_SECONDS) or in a "
    "config\nfile (drain-seconds = 20). The command line wins over the environment, that over the file.\n\n"};

OptionProblem set_listen(GatewayOptions& o, std::string_view text) {
    const std::size_t colon = text.rfind(':');
    int port = 0;
    if (colon == std::string_view::npos || colon == 0 ||
        !set_integer(port, text.substr(colon + 1), 0, 65535).empty()) {
        return "must be host:port";
    }
    std::string_view host = text.substr(0, colon);
    if (host.starts_with('[') && host.ends_with(']')) {
        host = host.substr(1, host.size() - 2);
    } else if (host.find(':') != std::string_view::npos) {
        return "must have an IPv6 address in brackets: [::1]:8080";
    }
    o.listen_host = host;
    o.listen_port = static_cast<std::uint16_t>(port);
    return {};
}

OptionProblem add_blocks(std::vector<AddressBlock>& target, std::string_view text) {
    for (const std::string& word : option_words(text)) {
        const auto block = parse_address_block(word);
        if (!block) {
            return "'" + word + "' is not an address or a block like 10.0.0.0/8";
        }
        target.push_back(*block);
    }
    return {};
}

OptionProblem set_public_url(GatewayOptions& o, std::string_view text) {
    while (text.ends_with('/')) {
        text.remove_suffix(1);
    }
    o.public_url = text;
    const bool is_url = (text.starts_with("https://") || text.starts_with("http://")) &&
                        text.find_first_of(" ?#\"<>\\") == std::string_view::npos;
    return is_url ? OptionProblem() : "must be a URL like https://sync.example.com";
}

OptionProblem set_seconds(double& target, std::string_view text) {
    return set_number(target, text, 0.1, 86400, "seconds");
}

using Text = std::string_view;

constexpr std::array kSpecs{
    GatewayOptionSpec{"listen", "", "HOST:PORT", "127.0.0.1:8080", false, false, set_listen,
                      "Address to serve on; port 0: one that is free, which the log tells."},
    GatewayOptionSpec{"database-url", "dsn", "URL", "", false, false,
                      [](GatewayOptions& o, Text v) { return set_database(o.database_url, v); },
                      "Database to serve: postgresql://user@host/db or key=value pairs. Without it the PG* "
                      "variables count."},
    GatewayOptionSpec{"db-connections", "", "N", "8", false, false,
                      [](GatewayOptions& o, Text v) { return set_integer(o.db_connections, v, 1, 100); },
                      "Most database connections."},
    GatewayOptionSpec{
        "public-url", "", "URL", "", false, false, set_public_url,
        "How clients reach this gateway, for addresses in its answers. Without it their Host header counts."},
    GatewayOptionSpec{"tls-cert", "", "FILE", "", false, false,
                      [](GatewayOptions& o, Text v) { return set_text(o.tls_cert, v); },
                      "Certificate chain (PEM) to serve HTTPS with; SIGHUP reads it and the key anew."},
    GatewayOptionSpec{"tls-key", "", "FILE", "", false, false,
                      [](GatewayOptions& o, Text v) { return set_text(o.tls_key, v); },
                      "Its private key (PEM)."},
    GatewayOptionSpec{
        "trusted-proxy", "", "CIDR", "", true, false,
        [](GatewayOptions& o, Text v) { return add_blocks(o.trusted_proxies, v); },
        "Address or block of proxies whose X-Forwarded-For and X-Forwarded-Proto are believed. Repeatable."},
    GatewayOptionSpec{
        "max-header-bytes", "", "N", "16384", false, false,
        [](GatewayOptions& o, Text v) { return set_bytes(o.max_header_bytes, v, 256, 1024.0 * 1024); },
        "Longest request line and header together."},
    GatewayOptionSpec{
        "max-body-bytes", "", "N", "1048576", false, false,
        [](GatewayOptions& o, Text v) { return set_bytes(o.max_body_bytes, v, 0, 1024.0 * 1024 * 1024); },
        "Longest body of a request."},
    GatewayOptionSpec{"header-timeout", "", "S", "10", false, false,
                      [](GatewayOptions& o, Text v) { return set_seconds(o.header_timeout, v); },
                      "Longest time for a request's whole header, and of a new connection for its first one "
                      "and the TLS handshake."},
    GatewayOptionSpec{"body-timeout", "", "S", "30", false, false,
                      [](GatewayOptions& o, Text v) { return set_seconds(o.body_timeout, v); },
                      "Longest time for a request's whole body."},
    GatewayOptionSpec{"idle-timeout", "", "S", "60", false, false,
                      [](GatewayOptions& o, Text v) { return set_seconds(o.idle_timeout, v); },
                      "How long a connection is kept for the next request."},
    GatewayOptionSpec{"write-timeout", "", "S", "30", false, false,
                      [](GatewayOptions& o, Text v) { return set_seconds(o.write_timeout, v); },
                      "Longest time for a client to take 64 KiB of an answer, or an event of a stream."},
    GatewayOptionSpec{"request-timeout", "", "S", "30", false, false,
                      [](GatewayOptions& o, Text v) { return set_seconds(o.request_timeout, v); },
                      "Longest time to work on a request before it is answered with 503."},
    GatewayOptionSpec{"max-connections", "", "N", "1000", false, false,
                      [](GatewayOptions& o, Text v) { return set_integer(o.max_connections, v, 1, 100000); },
                      "Most connections of clients."},
    GatewayOptionSpec{
        "max-connections-per-client", "", "N", "100", false, false,
        [](GatewayOptions& o, Text v) { return set_integer(o.max_connections_per_client, v, 1, 100000); },
        "Most of one IPv4 address or one IPv6 /64; trusted proxies may have any number."},
    GatewayOptionSpec{
        "max-requests-per-connection", "", "N", "10000", false, false,
        [](GatewayOptions& o, Text v) {
            return set_integer(o.max_requests_per_connection, v, 1, 1000000000);
        },
        "After so many requests a connection is closed, so that clients spread anew over gateways."},
    GatewayOptionSpec{
        "drain-seconds", "", "S", "20", false, false,
        [](GatewayOptions& o, Text v) { return set_number(o.drain_seconds, v, 0, 86400, "seconds"); },
        "After SIGTERM or SIGINT, how long requests under way may take. A second signal exits at once."},
    GatewayOptionSpec{"metrics-token", "", "TOKEN", "", false, false,
                      [](GatewayOptions& o, Text v) { return set_text(o.metrics_token, v); },
                      "Who has it as a bearer token may read /metrics, and nobody else.", true},
    GatewayOptionSpec{
        "metrics-allow", "", "CIDR", "", true, false,
        [](GatewayOptions& o, Text v) { return add_blocks(o.metrics_allow, v); },
        "Clients that may read /metrics where there is no token. Without it loopback and private addresses. "
        "Repeatable."},
    GatewayOptionSpec{
        "log-level", "", "LEVEL", "info", false, false,
        [](GatewayOptions& o, Text v) { return set_level(o.log_level, v); },
        "debug, info, warn or error; one JSON object a line on standard error. Requests are logged at info."},
};

}  // namespace

std::span<const GatewayOptionSpec> gateway_option_table() {
    return kSpecs;
}

GatewayOptions parse_gateway_options(std::span<const std::string> arguments, const OptionSources& sources) {
    GatewayOptions options = parse_options_by(kProgram, gateway_option_table(), arguments, sources);
    if (options.tls_cert.empty() != options.tls_key.empty()) {
        throw OptionError("--tls-cert and --tls-key need each other");
    }
    return options;
}

std::string gateway_help_text() {
    return options_help(kProgram, option_facts(gateway_option_table()));
}

}  // namespace sync_engine

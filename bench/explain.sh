#!/usr/bin/env bash
# Prints how PostgreSQL executes the statements inside the hot functions and of the API's requests, as docs/architecture.md shows them: EXPLAIN
# (ANALYZE, BUFFERS) among a million connections, live jobs and finished jobs each; ROWS=10000 for fewer.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/../scripts/lib.sh"
# shellcheck disable=SC2034
name=explain
# shellcheck source=bench/prepare.sh
source "$root/bench/prepare.sh"

# shellcheck disable=SC2317
cleanup() {
    trap '' INT TERM
    stop_servers "${work:-/nonexistent}"
    rm -rf "${work:-/nonexistent}"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

prepare_bench demo
start_bench_server
unprivileged /usr/bin/python3 "$work/bench/explain.py" --socket-dir "$work" --bindir "$("$pg_config" --bindir)" \
    --gateway "$work/bench/sync-gateway" --rows "${ROWS:-1000000}"

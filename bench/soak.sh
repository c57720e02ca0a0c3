#!/usr/bin/env bash
# `make bench-soak`: a private server keeps SOAK_CONNECTIONS connections in sync for SOAK_MINUTES (20) in real time, a run of
# each every 15 minutes; sampled each minute, judged at the end, written to docs/benchmarks-soak.md. Exit status 1
# when a judgement fails. QUICK=1: 3 minutes of 66,000 connections every minute, a tick every 10 s, to build/benchmarks-soak.md.
# With the default jitter of up to 20 % two runs lie 990 s apart on average: 1,100,000 connections make 1,111 runs a second.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/../scripts/lib.sh"
# shellcheck disable=SC2034
name=soak
# shellcheck source=bench/prepare.sh
source "$root/bench/prepare.sh"

if [ "${QUICK:-0}" = 1 ]; then
    interval=60
    tick=10
    connections=${SOAK_CONNECTIONS:-66000}
    minutes=${SOAK_MINUTES:-3}
    sample=15
    command="QUICK=1 make bench-soak"
    result=$root/build/benchmarks-soak.md
else
    interval=900
    tick=60
    connections=${SOAK_CONNECTIONS:-1100000}
    minutes=${SOAK_MINUTES:-20}
    sample=60
    command="make bench-soak"
    result=$root/docs/benchmarks-soak.md
fi
if ! [[ $connections =~ ^[1-9][0-9]*$ && $minutes =~ ^[1-9][0-9]*$ && $minutes -ge 3 ]]; then
    echo "soak: SOAK_CONNECTIONS and SOAK_MINUTES are whole numbers, the latter at least 3" >&2
    exit 2
fi

# shellcheck disable=SC2317
cleanup() {
    trap '' INT TERM
    if [ -n "${watcher:-}" ]; then
        kill "$watcher" 2>/dev/null || true
        wait "$watcher" || true
    fi
    stop_servers "${work:-/nonexistent}"
    rm -rf "${work:-/nonexistent}"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

prepare_bench demo
# 2,222 rows a second die in the queue, so that it takes a vacuum every 20 seconds to stay under the 50,000 allowed:
# PostgreSQL looks once a minute unless told otherwise. docs/operations.md advises the same.
extra_settings='autovacuum_naptime = 10s'
start_bench_server
unprivileged touch "$work/page.md"
# In the background, so that a signal is taken up at once.
unprivileged /usr/bin/python3 "$work/bench/soak.py" --socket-dir "$work" --bindir "$("$pg_config" --bindir)" \
    --executor "$work/bench/sync-executor" --connections "$connections" --interval "$interval" --minutes "$minutes" \
    --tick-interval "$tick" --sample-seconds "$sample" --command "$command" --output "$work/page.md" &
watcher=$!
status=0
wait "$watcher" || status=$?
watcher=
if [ ! -s "$work/page.md" ]; then
    tail -n 20 "$work/server.log" >&2
    echo "soak: failed" >&2
    exit 1
fi
mkdir -p "$(dirname "$result")"
cat "$work/page.md" >"$result"
echo "soak: written to ${result#"$root"/}" >&2
exit "$status"

#!/usr/bin/env bash
# `make bench`: builds, installs the extension into PostgreSQL, starts a private server and measures tick, schedules,
# drain, limits, signals, executor and gateway beside bare baselines of the same run. Prints tables and writes them to docs/benchmarks.md, plots beside
# it; with PARTS=gateway to docs/benchmarks-gateway.md; with QUICK=1 smaller and faster, to build/benchmarks.md. RUNS is the number of rounds whose medians are shown (3, or 1 if
# QUICK), PARTS some of "tick schedules worker drain growth limits signals executor latency gateway slow".
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/../scripts/lib.sh"
# shellcheck disable=SC2034
name=bench
# shellcheck source=bench/prepare.sh
source "$root/bench/prepare.sh"

parts=${PARTS:-tick schedules worker drain growth limits signals executor latency gateway slow}
if [ "${QUICK:-0}" = 1 ]; then
    size=quick
    runs=${RUNS:-1}
    result=$root/build/benchmarks.md
else
    size=full
    runs=${RUNS:-3}
    result=$root/docs/benchmarks.md
    # A part that was measured by itself has a page by itself.
    [ "$parts" != gateway ] || result=$root/docs/benchmarks-gateway.md
fi
if ! [[ $runs =~ ^[1-5]$ ]]; then
    echo "bench: RUNS is a number from 1 to 5, not $runs" >&2
    exit 2
fi

# shellcheck disable=SC2317
cleanup() {
    trap '' INT TERM
    stop_servers "${work:-/nonexistent}"
    rm -rf "${work:-/nonexistent}"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

prepare_bench bench
if ! command -v gnuplot >/dev/null; then
    echo "bench: there is no gnuplot to draw plots with: install Debian's gnuplot-nox" >&2
    exit 1
fi
start_bench_server

unprivileged mkdir "$work/benchmarks"
unprivileged touch "$work/benchmarks.md"
# shellcheck disable=SC2086
if ! unprivileged /usr/bin/python3 "$work/bench/bench.py" --socket-dir "$work" --bindir "$("$pg_config" --bindir)" \
    --executor "$work/bench/sync-executor" --gateway "$work/bench/sync-gateway" --demo-api "$work/bench/demo_api/demo_api.py" --size "$size" \
    --runs "$runs" --output "$work/benchmarks.md" --plots "$work/benchmarks" $parts; then
    tail -n 20 "$work/server.log" >&2
    echo "bench: failed" >&2
    exit 1
fi
mkdir -p "$(dirname "$result")"
cat "$work/benchmarks.md" >"$result"
# No plots of an earlier run remain beside this page.
plots=${result%.md}
rm -rf "$plots"
for plot in "$work"/benchmarks/*.svg; do
    if [ -e "$plot" ]; then
        mkdir -p "$plots"
        cat "$plot" >"$plots/$(basename "$plot")"
    fi
done
echo "bench: written to ${result#"$root"/}" >&2

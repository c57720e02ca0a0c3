#!/usr/bin/env bash
# `make bench-rivals`: installs graphile-worker, pg-boss, BullMQ (npm, as locked in bench/rivals/package-lock.json) and
# Redis (Debian), starts private servers and measures drain and latency of sync_engine beside theirs, in one run. Prints
# tables and writes them to docs/benchmarks-rivals.md; with QUICK=1 smaller and faster, to build/benchmarks-rivals.md.
# RUNS is the number of rounds whose medians are shown (3, or 1 if QUICK), PARTS some of "drain latency".
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/../scripts/lib.sh"
name=rivals
# shellcheck source=bench/prepare.sh
source "$root/bench/prepare.sh"

parts=${PARTS:-drain latency}
if [ "${QUICK:-0}" = 1 ]; then
    size=quick
    runs=${RUNS:-1}
    result=$root/build/benchmarks-rivals.md
else
    size=full
    runs=${RUNS:-3}
    result=$root/docs/benchmarks-rivals.md
fi
if ! [[ $runs =~ ^[1-5]$ ]]; then
    echo "rivals: RUNS is a number from 1 to 5, not $runs" >&2
    exit 2
fi

# The packages, Node.js itself among them: Debian's is too old for these rivals. Installed anew when the lock changes;
# their install scripts are not needed and not run.
packages=$root/build/rivals
install_packages() {
    rm -rf "$packages" && mkdir -p "$packages" \
        && cp "$root/bench/rivals/package.json" "$root/bench/rivals/package-lock.json" "$packages/" \
        && npm ci --prefix "$packages" --ignore-scripts --no-audit --no-fund && touch "$packages/installed"
}

prepare_bench rivals

# What runs in the background, each with its children a process group of its own.
set -m
groups=()
# shellcheck disable=SC2317
cleanup() {
    trap '' INT TERM
    local group
    for group in "${groups[@]}"; do
        kill -- "-$group" 2>/dev/null || true
        wait "$group" 2>/dev/null || true
    done
    stop_servers "$work"
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

if [ ! -e "$packages/installed" ] || ! cmp -s "$root/bench/rivals/package-lock.json" "$packages/package-lock.json"; then
    quietly "installing the rivals' packages" install_packages
fi
node=$(find "$packages/node_modules" -path '*/node-linux-*/bin/node' -print -quit)
if [ -z "$node" ]; then
    echo "rivals: no Node.js for this machine among the packages" >&2
    exit 1
fi
cp -r "$root/bench/rivals" "$work/bench/"
cp -r "$packages/node_modules" "$work/bench/rivals/"
chmod -R a+rX "$work/bench"

# The rivals' clients take more connections than `make bench` does.
# shellcheck disable=SC2034
extra_settings='max_connections = 200'
start_bench_server
unprivileged mkdir "$work/redis"
unprivileged redis-server --port 0 --unixsocket "$work/redis/socket" --dir "$work/redis" --save '' \
    --appendonly yes --appendfsync everysec --maxmemory-policy noeviction </dev/null >"$work/redis.log" 2>&1 &
groups+=($!)

unprivileged touch "$work/benchmarks.md"
# In the background, so that a signal ends it at once and not after it.
# shellcheck disable=SC2086
unprivileged env PYTHONPATH="$work/bench" /usr/bin/python3 "$work/bench/rivals/rivals.py" --socket-dir "$work" \
    --bindir "$("$pg_config" --bindir)" --redis "$work/redis/socket" \
    --node "$work/bench/rivals/${node#"$packages/"}" --executor "$work/bench/sync-executor" --size "$size" \
    --runs "$runs" --output "$work/benchmarks.md" $parts &
groups=($! "${groups[@]}")
if ! wait "${groups[0]}"; then
    tail -n 20 "$work/server.log" "$work/redis.log" >&2
    echo "rivals: failed" >&2
    exit 1
fi
mkdir -p "$(dirname "$result")"
cat "$work/benchmarks.md" >"$result"
echo "rivals: written to ${result#"$root"/}" >&2

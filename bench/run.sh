#!/usr/bin/env bash
# `make bench`: builds, installs the extension into PostgreSQL, starts a private server and measures tick, drain and
# executor beside bare baselines of the same run. Prints tables and writes them to docs/benchmarks.md; with QUICK=1
# smaller and faster, to build/benchmarks.md. RUNS is the number of rounds whose medians are shown (3, or 1 if QUICK),
# PARTS some of "tick drain executor slow".
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/../scripts/lib.sh"

parts=${PARTS:-tick drain executor slow}
if [ "${QUICK:-0}" = 1 ]; then
    size=quick
    runs=${RUNS:-1}
    result=$root/build/benchmarks.md
else
    size=full
    runs=${RUNS:-3}
    result=$root/docs/benchmarks.md
fi
if ! [[ $runs =~ ^[1-5]$ ]]; then
    echo "bench: RUNS is a number from 1 to 5, not $runs" >&2
    exit 2
fi

# quietly NAME COMMAND...: its output only when it fails.
quietly() {
    local name=$1 log
    shift
    log=$(mktemp)
    echo "bench: $name" >&2
    if ! "$@" >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        echo "bench: $name failed" >&2
        exit 1
    fi
    rm -f "$log"
}

clean_environment
"$root/scripts/install-deps.sh" demo
quietly "building the extension and sync-executor" make -C "$root" --no-print-directory -j"$(nproc)" \
    PG_CONFIG="$pg_config" build
quietly "installing the extension into PostgreSQL" as_root make -C "$root" --no-print-directory \
    PG_CONFIG="$pg_config" EXTENSION_ONLY=1 install

make_workspace sync-engine-bench
# shellcheck disable=SC2317
cleanup() {
    trap '' INT TERM
    stop_servers "$work"
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# The clone may lie where the unprivileged user cannot read.
mkdir "$work/bench"
cp "$root"/bench/*.py "$root"/bench/*.sql "$root/bench/page.md" "$root/build/sync-executor" "$work/bench/"
cp -r "$root/test/demo_api" "$work/bench/"
chmod -R a+rX "$work/bench"

# Unlike the tests' servers this one pays for durability.
cat >"$work/extra.conf" <<'CONF'
fsync = on
full_page_writes = on
shared_buffers = 1GB
max_wal_size = 8GB
sync_engine.background_ticks = off
CONF
echo "bench: starting a private PostgreSQL server in $work" >&2
start_server "$work"

unprivileged touch "$work/benchmarks.md"
# shellcheck disable=SC2086
if ! unprivileged /usr/bin/python3 "$work/bench/bench.py" --socket-dir "$work" --bindir "$("$pg_config" --bindir)" \
    --executor "$work/bench/sync-executor" --demo-api "$work/bench/demo_api/demo_api.py" --size "$size" \
    --runs "$runs" --output "$work/benchmarks.md" $parts; then
    tail -n 20 "$work/server.log" >&2
    echo "bench: failed" >&2
    exit 1
fi
mkdir -p "$(dirname "$result")"
cat "$work/benchmarks.md" >"$result"
echo "bench: written to ${result#"$root"/}" >&2

# shellcheck shell=bash
# Shared by the benchmarks beside it: source it after scripts/lib.sh, with `name` set to what messages begin with.

# quietly WHAT COMMAND...: its output only when it fails.
quietly() {
    local what=$1 log
    shift
    log=$(mktemp)
    echo "${name:?}: $what" >&2
    if ! "$@" >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        echo "$name: $what failed" >&2
        exit 1
    fi
    rm -f "$log"
}

# prepare_bench PURPOSE: installs the packages of that purpose, builds, installs the extension, and copies what the unprivileged user runs into $work/bench: the clone may lie where
# that one cannot read.
prepare_bench() {
    clean_environment
    "$root/scripts/install-deps.sh" "$1"
    quietly "building the extension and the programs" make -C "$root" --no-print-directory -j"$(nproc)" \
        PG_CONFIG="$pg_config" build
    quietly "installing the extension into PostgreSQL" as_root make -C "$root" --no-print-directory \
        PG_CONFIG="$pg_config" EXTENSION_ONLY=1 install
    make_workspace "sync-engine-$name"
    mkdir "$work/bench"
    cp "$root"/bench/*.py "$root"/bench/*.sql "$root"/bench/*.md "$root"/bench/*.lua "$root"/build/sync-{executor,gateway} "$work/bench/"
    cp -r "$root/test/demo_api" "$work/bench/"
    chmod -R a+rX "$work/bench"
}

# Unlike the tests' servers this one pays for durability. `extra_settings` may hold lines more.
start_bench_server() {
    cat >"$work/extra.conf" <<CONF
fsync = on
full_page_writes = on
shared_buffers = 1GB
max_wal_size = 8GB
sync_engine.background_ticks = off
${extra_settings:-}
CONF
    echo "$name: starting a private PostgreSQL server in $work" >&2
    start_server "$work"
    # Every shared buffer is used once: on a virtual machine a page of memory is dear when it is touched first, and whoever
    # is measured first would pay for it.
    "$("$pg_config" --bindir)/psql" -qX -h "$work" -U postgres -d postgres -c 'CREATE UNLOGGED TABLE warm (filler text)' \
        -c 'ALTER TABLE warm ALTER filler SET STORAGE PLAIN' \
        -c "INSERT INTO warm SELECT repeat('x', 7000) FROM generate_series(1, (2 ^ 17)::int)" -c 'DROP TABLE warm'
}

#!/usr/bin/env bash
# `make demo`: installs what is missing, builds, starts a private PostgreSQL server, and shows the engine at work on the
# demo API, or with SOURCE=github REPO=owner/name [GITHUB_TOKEN=...] on a real repository. DEMO_SECONDS (60) is how long.
# GITHUB_API_URL names another API of the same kind. Exits 0 only if everything arrived that should have.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

seconds=${DEMO_SECONDS:-60}
source=${SOURCE:-demo}
repo=${REPO:-}

case $source in
    demo) ;;
    github)
        if ! [[ $repo =~ ^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$ ]]; then
            echo "demo: SOURCE=github needs REPO=owner/name" >&2
            exit 2
        fi ;;
    *) echo "demo: SOURCE is demo or github, not $source" >&2; exit 2 ;;
esac
if ! [[ $seconds =~ ^[0-9]+$ ]] || [ "$seconds" -lt 1 ]; then
    echo "demo: DEMO_SECONDS is a number of seconds, not $seconds" >&2
    exit 2
fi

# quietly NAME COMMAND...: its output only when it fails.
quietly() {
    local name=$1 log
    shift
    log=$(mktemp)
    echo "demo: $name"
    if ! "$@" >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        echo "demo: $name failed" >&2
        exit 1
    fi
    rm -f "$log"
}

clean_environment
"$root/scripts/install-deps.sh" demo
quietly "building the extension and the programs" make -C "$root" --no-print-directory -j"$(nproc)" \
    PG_CONFIG="$pg_config" build
quietly "installing the extension into PostgreSQL" as_root make -C "$root" --no-print-directory \
    PG_CONFIG="$pg_config" EXTENSION_ONLY=1 install

make_workspace sync-engine-demo
# shellcheck disable=SC2317
cleanup() {
    trap '' INT TERM
    stop_servers "$work"
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 143' TERM
# Ctrl-C reaches every process of the terminal: demo.py ends the demo, and we go on when it has.
trap ':' INT

# The clone may lie where the unprivileged user cannot read.
mkdir "$work/bin"
cp "$root"/build/sync-{executor,gateway} "$root"/demo/*.py "$work/bin/"
cp -r "$root/test/demo_api" "$work/bin/"
chmod -R a+rX "$work/bin"

# The server listens on a socket in its own folder only, so this number collides with nothing.
port=5432
cat >"$work/extra.conf" <<'CONF'
# Look every second, so that things move within a minute.
sync_engine.tick_interval_seconds = 1
log_min_messages = log
CONF
echo "demo: starting a private PostgreSQL server in $work"
start_server "$work"

status=0
unprivileged /usr/bin/python3 "$work/bin/demo.py" --socket-dir "$work" --port "$port" --work "$work" \
    --executor "$work/bin/sync-executor" --gateway "$work/bin/sync-gateway" --demo-api "$work/bin/demo_api" \
    --seconds "$seconds" --source "$source" --repo "$repo" || status=$?
if [ "$status" -ne 0 ] && [ "$status" -ne 130 ]; then
    for log in server executor gateway api; do
        if [ -s "$work/$log.log" ]; then
            echo "---- the end of $log.log" >&2
            tail -n 15 "$work/$log.log" >&2
        fi
    done
    if [ -z "${DEMO_KEEP_LOGS:-}" ]; then
        echo "demo: failed (status $status)" >&2
    else
        mkdir -p "$DEMO_KEEP_LOGS"
        cp "$work"/*.log "$DEMO_KEEP_LOGS"/
    fi
else
    echo "demo: the server, the API, the gateway and the executor have been stopped; nothing is left behind."
fi
exit "$status"

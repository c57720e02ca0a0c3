#!/bin/sh
# Runs the TAP tests against the installed extension, as an unprivileged user, in a folder of its own.
# usage: test/tap/run.sh [FILE...]      PG_CONFIG, PG_TEST_USER (default postgres, used by root), PROVE_FLAGS,
# SYNC_EXECUTOR (the program; default build/sync-executor)
set -eu

here=$(cd "$(dirname "$0")" && pwd)
pg_config=${PG_CONFIG:-pg_config}
pgxs=$(dirname "$(dirname "$(dirname "$("$pg_config" --pgxs)")")")
SYNC_EXECUTOR=${SYNC_EXECUTOR:-$(cd "$here/../.." && pwd)/build/sync-executor}
export SYNC_EXECUTOR
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

cp -r "$here" "$work/tap"
if [ $# -eq 0 ]; then
    set -- "$work"/tap/*.pl
else
    i=$#
    while [ "$i" -gt 0 ]; do
        set -- "$@" "$work/tap/$(basename "$1")"
        shift
        i=$((i - 1))
    done
fi

as_user=
if [ "$(id -u)" -eq 0 ]; then
    user=${PG_TEST_USER:-postgres}
    chown -R "$user" "$work"
    as_user="runuser -u $user --"
fi

cd "$work"
# shellcheck disable=SC2086
$as_user env TESTDIR="$work" PATH="$("$pg_config" --bindir):$PATH" PGPORT=65432 LC_ALL=C \
    PG_REGRESS="$pgxs/src/test/regress/pg_regress" \
    prove ${PROVE_FLAGS:-} -I "$pgxs/src/test/perl" -I "$work/tap/lib" "$@"

#!/usr/bin/env bash
# Checks, as TAP, what the extension's library shows to the server: the magic block, _PG_init, the workers'
# entry points and the C functions of the SQL scripts, released ones too, with their finfo records, all of them and
# nothing else: a database that has not been updated calls the new library by the old names.
# usage: check-symbols.sh [LIBRARY]
set -euo pipefail
cd "$(dirname "$0")/.."

library=${1:-sync_engine.so}
functions=$(sed -nE "s/.*AS 'MODULE_PATHNAME', *'([a-z_0-9]+)'.*/\1/p" src/schema/*.sql control/*.sql | sort -u)
mains=$(grep -hoE "\bsync_engine_[a-z_]+_main\b" src/extension/*.cpp | sort -u)
records=pg_finfo_${functions//$'\n'/$'\n'pg_finfo_}
expected=$(printf '%s\n' Pg_magic_func _PG_init "$mains" "$functions" "$records" | sort -u)
actual=$(nm -D --defined-only "$library" | awk '{print $3}' | sort -u)

status=0
while read -r name; do
    if grep -qx -- "$name" <<<"$actual"; then
        echo "ok - $name is exported"
    else
        echo "not ok - $name is not exported"
        status=1
    fi
done <<<"$expected"
extra=$(comm -13 <(echo "$expected") <(echo "$actual"))
if [ -z "$extra" ]; then
    echo "ok - nothing else is exported"
else
    echo "not ok - exported besides: $(tr '\n' ' ' <<<"$extra")"
    status=1
fi
exit "$status"

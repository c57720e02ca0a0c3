#!/usr/bin/env bash
# Compares sync.cron_next with cron-parser, beside this file in node_modules: TAP, with the counts as diagnostics.
# usage: run.sh SOCKET_FOLDER FAR NEAR     FAR random cases without a change of the clocks near, NEAR with one
# The database cron_parser has to be there; SEED makes other cases.
set -euo pipefail
cd "$(dirname "$0")"
socket=$1
far=$2
near=$3
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
sql() {
    psql -X -q -v ON_ERROR_STOP=1 -h "$socket" -U postgres -d cron_parser "$@"
}

sql -c 'CREATE EXTENSION sync_engine' -f changes.sql
sql -c 'COPY (SELECT * FROM changes ORDER BY zone, at) TO STDOUT CSV' >"$folder/changes.csv"
node cases.mjs "$folder" "${SEED:-1}" "$far" "$near"
cp examples.csv "$folder/"
sql -v folder="$folder" -v far="$far" -v near="$near" -f compare.sql
node examples.mjs

#!/usr/bin/env bash
# Measures the two shapes of shapes.sql in the database that PG* points to (a superuser's, of its own cluster):
# microseconds a job for claim and complete, WAL bytes a job, medians of RUNS rounds in alternation.
# JOBS=20000 BATCH=100 RUNS=5 HISTORY="0 1000000" bash bench/shapes/shapes.sh
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
jobs=${JOBS:-20000} batch=${BATCH:-100} runs=${RUNS:-5}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

round() { # shape -> "claim_us complete_us wal_bytes"
    psql -X -q -A -t -F ' ' -v ON_ERROR_STOP=1 <<SQL
DO \$\$
DECLARE
    t0 timestamptz; claim interval := '0'; complete interval := '0'; w pg_lsn; wal numeric := 0; ids bigint[]; done int := 0;
BEGIN
    PERFORM $1.fill($jobs);
    COMMIT;
    WHILE done < $jobs LOOP
        w := pg_current_wal_insert_lsn();
        t0 := clock_timestamp(); ids := $1.claim($batch); COMMIT; claim := claim + (clock_timestamp() - t0);
        t0 := clock_timestamp(); PERFORM $1.complete(ids); COMMIT; complete := complete + (clock_timestamp() - t0);
        wal := wal + (pg_current_wal_insert_lsn() - w);
        done := done + cardinality(ids);
    END LOOP;
    PERFORM set_config('shapes.result', format('%s %s %s', round(extract(epoch FROM claim) * 1e6 / $jobs, 2),
        round(extract(epoch FROM complete) * 1e6 / $jobs, 2), round(wal / $jobs)), false);
END
\$\$;
SELECT current_setting('shapes.result');
SQL
}

median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

printf '%-22s %9s %12s %15s %13s\n' shape history claim_us/job complete_us/job WAL_bytes/job
for history in ${HISTORY:-0 1000000}; do
    psql -X -q -v ON_ERROR_STOP=1 -f "$here/shapes.sql" 2>/dev/null
    psql -X -q -v ON_ERROR_STOP=1 -c "SELECT shape_a.history($history), shape_b.history($history)" -o /dev/null
    psql -X -q -c 'VACUUM ANALYZE' -c 'ALTER SYSTEM SET full_page_writes = off' -c 'SELECT pg_reload_conf()' -c CHECKPOINT -o /dev/null
    for shape in shape_a shape_b; do : >"$out/$shape"; done
    for ((i = 0; i < runs; i++)); do
        for shape in shape_a shape_b; do round $shape >>"$out/$shape"; done
    done
    for shape in shape_a shape_b; do
        name=$([ $shape = shape_a ] && echo 'A one table' || echo 'B live and history')
        printf '%-22s %9s %12s %15s %13s\n' "$name" "$history" "$(cut -d' ' -f1 "$out/$shape" | median)" \
            "$(cut -d' ' -f2 "$out/$shape" | median)" "$(cut -d' ' -f3 "$out/$shape" | median)"
    done
    psql -X -q -c 'ALTER SYSTEM RESET full_page_writes' -c 'SELECT pg_reload_conf()' -c 'DROP SCHEMA shape_a, shape_b CASCADE' -o /dev/null 2>/dev/null
done

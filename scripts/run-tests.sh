#!/usr/bin/env bash
# Builds everything, installs the extension into PostgreSQL and runs the test suites: `make test`, or some of
# them with SUITES="regress unit". A line per suite, then one closing line over all. Logs of failing suites
# stay in build/test-logs. FULL=1, which is `make test-full`: as many random cases as there should be, not as many as are quick.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

all_suites="tap executor executor-sanitized regress isolation pgtap replay cron-parser"
all_suites+=" gateway gateway-sanitized unit demo-api rules symbols"
suites=${SUITES:-$all_suites}
jobs=${JOBS:-$(nproc)}
export FULL=${FULL:-0}
case $FULL in
    0) suite_seconds=${SUITE_SECONDS:-3000} ;;
    1) suite_seconds=${SUITE_SECONDS:-3600} ;;
    *) echo "run-tests: FULL is 0 or 1, not $FULL" >&2; exit 2 ;;
esac
started=$SECONDS

for suite in $suites; do
    case " $all_suites " in
        *" $suite "*) ;;
        *) echo "run-tests: no suite $suite; there are: $all_suites" >&2; exit 2 ;;
    esac
done
needs() {
    local name
    for name in "$@"; do
        case " $suites " in *" $name "*) return 0 ;; esac
    done
    return 1
}

clean_environment
"$root/scripts/install-deps.sh" test
make_workspace sync-engine-test
kept="$root/build/test-logs"
tree="$work/tree"

# What a suite that was cut off left running carries our TMPDIR.
signal_leftovers() {
    local file pid
    for file in /proc/[0-9]*/environ; do
        if tr '\0' '\n' 2>/dev/null <"$file" | grep -qxF "TMPDIR=$work/tmp"; then
            pid=${file#/proc/}
            kill "-$1" "${pid%/environ}" 2>/dev/null && echo signalled
        fi
    done 2>/dev/null
}

# shellcheck disable=SC2317
cleanup() {
    trap '' INT TERM
    trap - EXIT
    # shellcheck disable=SC2046
    kill $(jobs -p) 2>/dev/null || true
    stop_servers "$work"
    local tries
    for tries in 1 2 3; do
        [ -n "$(signal_leftovers TERM)" ] || break
        sleep "$tries"
    done
    signal_leftovers KILL >/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# step NAME COMMAND...: a part of the build; its output is shown only when it fails.
step() {
    local name=$1 from=$SECONDS
    shift
    if ! "$@" >"$work/$name.log" 2>&1; then
        cat "$work/$name.log"
        echo "$name: failed"
        echo "0 passed, 1 failed"
        exit 1
    fi
    printf '%-20s %4ds\n' "$name" $((SECONDS - from))
}

# What was built by another generator before goes on with that.
export CMAKE_GENERATOR=${CMAKE_GENERATOR:-Ninja}

# cmake_build FOLDER "TARGETS" OPTION...: no targets: all.
cmake_build() {
    local dir=$1 targets=$2
    shift 2
    # shellcheck disable=SC2086
    cmake -S "$root" -B "$dir" -DSYNC_BUILD_TESTS=ON -DWERROR="${CI:+ON}" "$@" \
        && cmake --build "$dir" --parallel "$jobs" ${targets:+--target $targets}
}

# install_packages FOLDER: what the tests in test/FOLDER want of npm, as locked there, in build/npm/FOLDER; installed
# anew when the lock changes.
install_packages() {
    local lock="$root/test/$1/package-lock.json" packages="$root/build/npm/$1"
    cmp -s "$lock" "$packages/installed" && return
    rm -rf "$packages" && mkdir -p "$packages" \
        && cp "$root/test/$1/package.json" "$lock" "$packages/" \
        && npm ci --prefix "$packages" --ignore-scripts --no-audit --no-fund \
        && cp "$lock" "$packages/installed"
}

# The folders whose packages the suites need: what cron_next is compared with, what receivers verify webhooks with,
# what knows OpenAPI documents.
package_folders() {
    if needs cron-parser; then
        echo cron_parser
    fi
    if needs executor executor-sanitized; then
        echo webhooks
    fi
    if needs gateway gateway-sanitized; then
        echo openapi
    fi
}

build_all() {
    step build-extension make -C "$root" --no-print-directory -j"$jobs" PG_CONFIG="$pg_config" all
    local folder
    for folder in $(package_folders); do
        step "npm-$folder" install_packages "$folder"
    done
    if needs regress isolation pgtap replay tap executor executor-sanitized cron-parser; then
        step install as_root make -C "$root" --no-print-directory PG_CONFIG="$pg_config" \
            EXTENSION_ONLY=1 install
    fi
    # Unit tests run sanitized only.
    if needs executor gateway gateway-sanitized tap; then
        step build-programs cmake_build "$root/build" "sync-executor sync-gateway gateway_echo_server" \
            "-DCMAKE_CXX_FLAGS_RELWITHDEBINFO=-O2 -g1 -DNDEBUG"
    fi
    if needs unit executor-sanitized gateway-sanitized; then
        step build-sanitized cmake_build "$root/build/sanitize" "" -DSANITIZE=address,undefined \
            -DCMAKE_BUILD_TYPE=Debug "-DCMAKE_CXX_FLAGS_DEBUG=-O1 -g1"
    fi
}

# The suites run on a copy, so that the unprivileged user can read it and nothing is written into the clone.
copy_tree() {
    mkdir "$tree" "$work/results"
    tar -c -C "$root" --exclude=./.git --exclude=./build --exclude='*.o' --exclude='*.so' . \
        | tar -x -C "$tree"
    local dir
    for dir in build build/sanitize; do
        mkdir -p "$tree/$dir"
        cp -r "$root/$dir/sync-executor" "$root/$dir/sync-gateway" "$root/$dir/unit" "$tree/$dir/" 2>/dev/null || true
    done
    for dir in $(package_folders); do
        cp -r "$root/build/npm/$dir/node_modules" "$tree/test/$dir/"
    done
    if [ "$(id -u)" -eq 0 ]; then
        chown -R "$server_user" "$tree" "$work/results"
    fi
}

# limited COMMAND...: unprivileged, in the copy, not for ever.
limited() {
    (cd "$tree" && unprivileged timeout --kill-after=20 "$suite_seconds" "$@")
}

pgxs_dir() {
    dirname "$(dirname "$(dirname "$("$pg_config" --pgxs)")")"
}

# A worker that ticks by itself would change what these suites print.
quiet_config() {
    cat "$root/scripts/private-server.conf"
    echo 'sync_engine.background_ticks = off'
}

run_pg_regress() {
    local program=$1 input=$2 out="$work/$3"
    shift 3
    unprivileged mkdir -p "$out"
    { quiet_config; echo "${extra_config:-}"; } | unprivileged tee "$out/temp.conf" >/dev/null
    local status=0
    limited "$program" --temp-instance="$out/instance" --temp-config="$out/temp.conf" --inputdir="$input" \
        --bindir="$("$pg_config" --bindir)" --outputdir="$out" --dbname=contrib_regression --no-locale \
        --encoding=UTF8 "$@" || status=$?
    cat "$out/regression.diffs" 2>/dev/null || true
    return "$status"
}

names() {
    local file
    for file in "$tree"/$1; do
        [ -e "$file" ] && basename "${file%.*}"
    done
}

suite_regress() {
    # shellcheck disable=SC2046
    run_pg_regress "$(pgxs_dir)/src/test/regress/pg_regress" "$tree" regress $(names 'sql/*.sql')
}

suite_isolation() {
    local unlisted status=0
    # No worker beside the specs: its housekeeping makes and drops tables when it likes.
    # Nor an analysis, whose transaction would hold up readers of signals.
    local extra_config="shared_preload_libraries = ''
autovacuum = off"
    run_pg_regress "$(pgxs_dir)/src/test/isolation/pg_isolation_regress" "$tree/test/isolation" isolation \
        --load-extension=sync_engine --schedule="$tree/test/isolation/isolation_schedule" || status=$?
    unlisted=$(comm -13 <(sed -n 's/^test: *//p' "$tree/test/isolation/isolation_schedule" | tr ' ' '\n' | sort) \
        <(names 'test/isolation/specs/*.spec' | sort))
    if [ -n "$unlisted" ]; then
        echo "specs that the schedule does not list: $unlisted"
        status=1
    fi
    return "$status"
}

# Each file has a database of its own, in which it creates the extension.
suite_pgtap() {
    local at="$work/pgtap" bindir name status=0
    bindir=$("$pg_config" --bindir)
    unprivileged mkdir -p "$at"
    # No worker beside the files: readers of signals wait for whatever transaction its housekeeping has open.
    # The launcher and PostgreSQL's own take the two places that there are.
    printf '%s\n' 'sync_engine.background_ticks = off' 'autovacuum = off' 'max_worker_processes = 2' \
        | unprivileged tee "$at/extra.conf" >/dev/null
    start_server "$at"
    for name in $(names 'test/pgtap/*.sql'); do
        unprivileged "$bindir/createdb" -h "$at" -U postgres "$name"
        limited pg_prove -v -h "$at" -U postgres -d "$name" "test/pgtap/$name.sql" || status=$?
    done
    stop_servers "$at"
    return "$status"
}

# A year of schedules; what it went through stays in build/replay.log, with the SEED that repeats it.
suite_replay() {
    local at="$work/replay" status=0
    unprivileged mkdir -p "$at"
    # No worker: its housekeeping, by the real clock, would drop the tables of the simulated one.
    printf '%s\n' 'sync_engine.background_ticks = off' 'autovacuum = off' 'max_worker_processes = 2' \
        | unprivileged tee "$at/extra.conf" >/dev/null
    start_server "$at"
    limited env PG_CONFIG="$pg_config" test/replay/replay.py "$at" | tee "$root/build/replay.log" || status=$?
    stop_servers "$at"
    return "$status"
}

# What was compared and what differed stays in build/cron-parser.log.
suite_cron-parser() {
    local at="$work/cron-parser" far=10000 near=2500 bindir status=0
    [ "$FULL" = 0 ] || { far=200000; near=50000; }
    bindir=$("$pg_config" --bindir)
    unprivileged mkdir -p "$at"
    printf '%s\n' 'sync_engine.background_ticks = off' 'autovacuum = off' | unprivileged tee "$at/extra.conf" >/dev/null
    start_server "$at"
    unprivileged "$bindir/createdb" -h "$at" -U postgres cron_parser
    limited env PATH="$bindir:$PATH" test/cron_parser/run.sh "$at" "$far" "$near" | tee "$root/build/cron-parser.log" \
        || status=$?
    stop_servers "$at"
    return "$status"
}

suite_tap() {
    [ "$FULL" = 0 ] || export SYNC_ENGINE_CONTENDED_CLAIMS=200000 SYNC_ENGINE_CONTENDED_LANDINGS=6000
    limited env PG_CONFIG="$pg_config" SYNC_EXECUTOR="$tree/build/sync-executor" PROVE_FLAGS="-v --timer" \
        test/tap/run.sh
}

sanitizers() {
    export ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1
    export UBSAN_OPTIONS=print_stacktrace=1
}

suite_unit() {
    sanitizers
    limited build/sanitize/unit/unit_tests --gtest_brief=1 --gtest_output="xml:$work/results/unit/report.xml"
}

run_pytest() {
    limited env PATH="$("$pg_config" --bindir):$PATH" /usr/bin/python3 -m pytest -p no:cacheprovider -q \
        --tb=short --durations=5 --junitxml="$work/results/$1/report.xml" "${@:2}"
}

# run_executor SUITE PROGRAM FILE...: the tests of notifications verify webhooks with a library's package, which lies in
# SYNC_WEBHOOK_VERIFIER.
run_executor() {
    SYNC_WEBHOOK_VERIFIER="$tree/test/webhooks" SYNC_EXECUTOR="$tree/$2" run_pytest "$1" "${@:3}"
}

# Where the input is odd, connections break or the program stops.
sanitized_executor_tests=(test/executor/test_{bad_input,database_loss,failures,hosts,mail_content,protocol,security,stopping,webhook_addresses,webhook_replies}.py)
sanitized_gateway_tests=(test/gateway/test_http_{fuzz,limits,protocol,proxies,stopping,streams,tls}.py
    test/gateway/test_{api_malformed,hooks,hooks_fuzz}.py)

# others SUITE FILE...: --ignore for each of the files where that suite runs them, but for FULL=1, which runs all of them twice.
others() {
    if [ "$FULL" = 0 ] && needs "$1"; then
        printf -- '--ignore=%s\n' "${@:2}"
    fi
}

suite_executor() {
    # shellcheck disable=SC2046
    run_executor executor build/sync-executor test/executor $(others executor-sanitized "${sanitized_executor_tests[@]}")
}

suite_executor-sanitized() {
    [ "$FULL" = 0 ] || sanitized_executor_tests=(test/executor)
    sanitizers
    run_executor executor-sanitized build/sanitize/sync-executor "${sanitized_executor_tests[@]}"
}

# run_gateway SUITE FOLDER FILE...: with the programs in the folder. What knows OpenAPI documents lies in
# SYNC_OPENAPI_VALIDATOR.
run_gateway() {
    SYNC_OPENAPI_VALIDATOR="$tree/test/openapi" SYNC_GATEWAY="$tree/$2/sync-gateway" \
        SYNC_GATEWAY_ECHO="$tree/$2/unit/gateway_echo_server" run_pytest "$1" "${@:3}"
}

suite_gateway() {
    # shellcheck disable=SC2046
    run_gateway gateway build test/gateway $(others gateway-sanitized "${sanitized_gateway_tests[@]}")
}

suite_gateway-sanitized() {
    [ "$FULL" = 0 ] || sanitized_gateway_tests=(test/gateway)
    sanitizers
    run_gateway gateway-sanitized build/sanitize "${sanitized_gateway_tests[@]}"
}

suite_demo-api() {
    run_pytest demo-api test/demo_api
}

suite_rules() {
    local status=0
    limited scripts/check-rules.py || status=$?
    limited test/rules/update_script_test.py || status=$?
    return "$status"
}

suite_symbols() {
    "$root/scripts/check-symbols.sh" "$root/sync_engine.so"
}

# tally SUITE STATUS: `PASSED FAILED` of a suite that has run. A suite that ran nothing, or that ended badly
# without saying which test it was, has one failure.
tally() {
    local suite=$1 status=$2 counts passed failed
    case $suite in
        regress | isolation) counts=$(scripts/count-results.py regress "$work/$suite.log") ;;
        unit | executor | executor-sanitized | gateway | gateway-sanitized | demo-api)
            counts=$(scripts/count-results.py junit "$work/results/$suite/report.xml" 2>/dev/null || echo 0 1)
            ;;
        *) counts=$(scripts/count-results.py tap "$work/$suite.log") ;;
    esac
    read -r passed failed <<<"$counts"
    if [ "$failed" -eq 0 ] && { [ "$status" -ne 0 ] || [ "$passed" -eq 0 ]; }; then
        failed=1
    fi
    echo "$passed $failed"
}

run_suite() {
    local suite=$1 from=$SECONDS status=0 counts
    "suite_$suite" >"$work/$suite.log" 2>&1 </dev/null || status=$?
    counts=$(tally "$suite" "$status")
    echo "$counts" >"$work/$suite.counts"
    # shellcheck disable=SC2086
    printf '%-20s %d passed, %d failed   (%ds)\n' "$suite" $counts $((SECONDS - from))
}

# What a failure looks like in any of the logs.
signs='^ *not ok|^# *(Failed|got:|have:|want:|expected:|at )|^#   [a-z]+/|FAILED|ERROR:|Error:| error:|^E  '
signs+='|Dubious|Non-zero|Parse errors|died|exited with'

report_failures() {
    local suite=$1
    mkdir -p "$kept"
    cp "$work/$suite.log" "$kept/"
    echo "---- $suite: from build/test-logs/$suite.log"
    grep -nE "$signs" "$work/$suite.log" | head -n "${LOG_LINES:-80}" || true
    echo "---- and its end"
    tail -n 25 "$work/$suite.log"
}

# name_failures SUITE: its failing tests, each by the file that it is in where the log tells, and what they told.
name_failures() {
    awk -v suite="$1" '
        /^# +Failed test/ { told = told_in_all < 40 ? 8 : 0 }
        told > 0 && /^#/ { told--; told_in_all++; print suite ": " substr($0, 1, 240) }
        !/^#/ { told = 0 }
        / \.\. *$/ { file = $1; sub(".*/", "", file) }
        /^(not ok|FAILED |ERROR )|^(test)? +[^ ]+ +\.\.\. FAILED|^\[  FAILED  \] [^ ]*$|^(Dubious|.*Non-zero exit)/ {
            if (++shown <= 12) print suite ": " file " " substr($0, 1, 160)
        }' "$work/$1.log"
}

cd "$root"
mkdir -p build
# A second run in the same clone waits: both write into build/.
exec 9>build/.lock
flock 9
rm -rf "$kept"
build_all
step copy copy_tree

for suite in $suites; do
    # One more than there are processors: the long suites mostly wait.
    while [ "$(jobs -rp | wc -l)" -gt "$jobs" ]; do
        wait -n || true
    done
    run_suite "$suite" &
done
wait

passed=0
failed=0
failing=""
for suite in $suites; do
    read -r suite_passed suite_failed <"$work/$suite.counts" || { suite_passed=0; suite_failed=1; }
    passed=$((passed + suite_passed))
    failed=$((failed + suite_failed))
    [ "$suite_failed" -eq 0 ] || { report_failures "$suite"; failing+=" $suite"; }
done
# Once more and last, in few lines: who reads the end of a long output alone finds them.
for suite in $failing; do
    name_failures "$suite"
done
echo "took $((SECONDS - started))s"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]

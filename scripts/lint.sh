#!/usr/bin/env bash
# Formatting, static analysis and the project's rules: `make lint`. `--format` formats the C++ sources instead.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"
cd "$root"

mapfile -t cpp < <(git ls-files -co --exclude-standard '*.cpp' '*.hpp')
if [ "${1:-}" = --format ]; then
    clang-format -i "${cpp[@]}"
    exit 0
fi

jobs=${JOBS:-$(nproc)}
# Of its own: what a build was configured with, warnings as errors among it, is not clang's business.
build=${BUILD_DIR:-build/lint}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
failed=0

# check NAME COMMAND...: one line per check, its output only where it finds something.
check() {
    local name=$1 from=$SECONDS
    shift
    if "$@" >"$log" 2>&1; then
        printf '%-14s ok      (%ds)\n' "$name" $((SECONDS - from))
    else
        printf '%-14s FAILED  (%ds)\n' "$name" $((SECONDS - from))
        grep -vE '^[0-9]+ warnings? (generated|treated)|^Suppressed|^Use -header-filter' "$log" | head -n "${LOG_LINES:-200}"
        failed=$((failed + 1))
    fi
}

tidy() {
    # The compilation database names the flags; generated with every source in it.
    # Precompiled headers are GCC's.
    cmake -S . -B "$build" -DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON -DSYNC_UNITY=OFF >/dev/null
    printf '%s\0' "${tidied[@]}" | xargs -0 -n 1 -P "$jobs" clang-tidy --quiet -p "$build"
}

# It does not know coroutines: they return without a statement, and take by value what outlives the caller. Of both the
# compiler and clang-tidy know better.
analyse() {
    cppcheck --quiet --error-exitcode=1 --std=c++20 --language=c++ --inline-suppr -j "$jobs" \
        --enable=warning,performance,portability --suppress=missingInclude --suppress=missingIncludeSystem \
        --suppress='missingReturn:src/gateway/*' --suppress='passedByValue:src/gateway/*' --suppress=unknownMacro -DPGDLLEXPORT= -DPG_VERSION_NUM=150000 -DRAPIDJSON_HAS_STDSTRING=1 -Dco_return=return -Dco_await= -Isrc src
}

"$root/scripts/install-deps.sh" test
mapfile -t tidied < <(git ls-files -co --exclude-standard 'src/core/*.cpp' 'src/connectors/*.cpp' 'src/notify/*.cpp' 'src/process/*.cpp' \
    'src/executor/*.cpp' 'src/gateway/*.cpp')
mapfile -t shells < <(git grep -lE '^#!.*\b(ba)?sh$' -- . ; printf '%s\n' scripts/lib.sh)

check clang-format clang-format --dry-run -Werror "${cpp[@]}"
check shellcheck shellcheck -x "${shells[@]}"
check rules scripts/check-rules.py
check cppcheck analyse
check clang-tidy tidy

if [ "$failed" -ne 0 ]; then
    echo "lint: $failed of 5 checks failed"
    exit 1
fi
echo "lint: all 5 checks passed"

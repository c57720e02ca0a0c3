#!/usr/bin/env bash
# Installs what the build and the demo (`demo`), the benchmarks (`bench`) or the rivals' (`rivals`) beside them, or the tests
# and lint (`test`, the default) need of Debian 12's packages. Quick and offline when nothing is missing; run as root or as a user with sudo.
set -euo pipefail

set_name=${1:-test}
pg=${PG_MAJOR:-15}

build=(ca-certificates make g++ cmake pkg-config python3 "postgresql-$pg" "postgresql-server-dev-$pg" libpq-dev
    libcurl4-openssl-dev libssl-dev rapidjson-dev prometheus-cpp-dev libboost1.81-dev)
demo=(python3-aiohttp python3-psycopg)
tests=(ninja-build binutils perl libgtest-dev "postgresql-$pg-pgtap" libtap-parser-sourcehandler-pgtap-perl
    libipc-run-perl pgbouncer python3-pytest python3-jsonschema python3-aiosmtpd openssl iproute2)
bench=(gnuplot-nox wrk)
rivals=(redis-server)
# An npm that is there already need not be Debian's; this one brings Debian's nodejs.
if ! command -v npm >/dev/null; then
    rivals+=(npm)
    tests+=(npm)
fi
lint=(clang-format clang-tidy cppcheck shellcheck)

case $set_name in
    demo) wanted=("${build[@]}" "${demo[@]}") ;;
    bench) wanted=("${build[@]}" "${demo[@]}" "${bench[@]}") ;;
    rivals) wanted=("${build[@]}" "${demo[@]}" "${rivals[@]}") ;;
    test) wanted=("${build[@]}" "${demo[@]}" "${tests[@]}" "${lint[@]}") ;;
    *) echo "usage: $0 [demo|bench|rivals|test]" >&2; exit 2 ;;
esac

is_installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "install-deps: this is not a Debian system; install the equivalents of: ${wanted[*]}" >&2
    exit 1
fi

missing=()
for package in "${wanted[@]}"; do
    is_installed "$package" || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
    exit 0
fi

root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "install-deps: missing packages need root or sudo: ${missing[*]}" >&2
        exit 1
    fi
    root=(sudo)
fi
as_root() {
    "${root[@]}" "$@"
}

restore=()
undo() {
    local file
    for file in "${restore[@]}"; do
        as_root rm -f "$file"
    done
}
trap undo EXIT
trap 'exit 130' INT TERM

# put FILE MODE: makes FILE from stdin for as long as this script runs.
put() {
    restore+=("$1")
    as_root tee "$1" >/dev/null
    as_root chmod "$2" "$1"
}

# The demo and the tests start private servers of their own. Installing the server package would otherwise
# create and start a cluster `main` on port 5432 that nobody asked for. Clusters that exist already are left
# alone.
if ! is_installed "postgresql-$pg"; then
    as_root mkdir -p /etc/postgresql-common/createcluster.d
    echo 'create_main_cluster = false' | put /etc/postgresql-common/createcluster.d/sync-engine-build.conf 644
fi
# Nor shall any service be started by its installation; a policy that the machine has already is respected.
if [ ! -e /usr/sbin/policy-rc.d ]; then
    printf '#!/bin/sh\nexit 101\n' | put /usr/sbin/policy-rc.d 755
fi

echo "install-deps: installing ${missing[*]}"
apt=(env DEBIAN_FRONTEND=noninteractive apt-get -o "DPkg::Lock::Timeout=300" -o "Acquire::Retries=3" -qq)
log=$(mktemp)
restore+=("$log")
install_missing() {
    as_root "${apt[@]}" update && as_root "${apt[@]}" install -y --no-install-recommends "${missing[@]}"
}
if ! install_missing >"$log" 2>&1; then
    cat "$log" >&2
    echo "install-deps: installing failed" >&2
    exit 1
fi
# The tests run a pgbouncer of their own, the benchmark a redis-server: the packaged service, if it came with us, stays
# off at the next boot too.
for service in pgbouncer redis-server; do
    case " ${missing[*]} " in
        *" $service "*) as_root update-rc.d "$service" disable >/dev/null 2>&1 || true ;;
    esac
done
echo "install-deps: done"

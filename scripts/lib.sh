# shellcheck shell=bash
# Shared by the scripts beside it: privileges, a private workspace, private servers. Source it after `set -euo
# pipefail`.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
pg_config=${PG_CONFIG:-pg_config}
# PostgreSQL refuses to run as root; its package made this user.
server_user=${PG_TEST_USER:-postgres}

# as_root COMMAND...: with the rights that installing needs.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        echo "neither root nor sudo, needed for: $*" >&2
        return 1
    fi
}

# unprivileged COMMAND...: as ourselves, or as the server's user where we are root.
unprivileged() {
    if [ "$(id -u)" -eq 0 ]; then
        # Not runuser: it would stand between us and the command, and keep signals to itself.
        setpriv --reuid="$server_user" --regid="$(id -g "$server_user")" --init-groups -- "$@"
    else
        "$@"
    fi
}

# A caller's settings must not lead the private servers' clients elsewhere, nor change what they print.
clean_environment() {
    local name
    for name in $(compgen -e | grep '^PG' | grep -vx 'PG_CONFIG\|PG_MAJOR\|PG_TEST_USER' || true); do
        unset "$name"
    done
    # The make that called us has settings of its own, which are not for the builds below.
    unset LANG LANGUAGE PYTHONPATH PERL5LIB MAKEFLAGS MFLAGS MAKELEVEL
    export LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
}

# make_workspace NAME: sets and exports `work`, a private folder under a short path (sockets go below it), in
# a place that the unprivileged user can reach even when the clone lies in root's home.
make_workspace() {
    work=$(mktemp -d "/tmp/$1.XXXXXX")
    mkdir "$work/tmp" "$work/home"
    if [ "$(id -u)" -eq 0 ]; then
        chown -R "$server_user" "$work"
    fi
    export work TMPDIR="$work/tmp" HOME="$work/home"
}

# stop_servers FOLDER: stops every PostgreSQL server whose data lies below it.
stop_servers() {
    local file pid tries
    while IFS= read -r file; do
        pid=$(head -n 1 "$file" 2>/dev/null || true)
        if [ -z "$pid" ] || ! kill -INT "$pid" 2>/dev/null; then
            continue
        fi
        tries=0
        while kill -0 "$pid" 2>/dev/null; do
            tries=$((tries + 1))
            if [ "$tries" -eq 100 ]; then
                kill -QUIT "$pid" 2>/dev/null || true
            elif [ "$tries" -gt 150 ]; then
                break
            fi
            sleep 0.1
        done
    done < <(find "$1" -name postmaster.pid 2>/dev/null)
}

# start_server FOLDER [LISTEN_PORT]: a server with the extension preloaded, data and socket in FOLDER,
# superuser `postgres`; it also listens on 127.0.0.1 where a port is given. $FOLDER/extra.conf is included if
# it exists.
start_server() {
    local folder=$1 port=${2:-5432} bindir
    bindir=$("$pg_config" --bindir)
    unprivileged "$bindir/initdb" -D "$folder/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync \
        >"$folder/initdb.log" 2>&1 || { cat "$folder/initdb.log" >&2; return 1; }
    {
        cat "$root/scripts/private-server.conf"
        printf "%s = '%s'\n" unix_socket_directories "$folder" port "$port" listen_addresses "${2:+127.0.0.1}"
        cat "$folder/extra.conf" 2>/dev/null || true
    } | unprivileged tee -a "$folder/data/postgresql.conf" >/dev/null
    unprivileged "$bindir/pg_ctl" -D "$folder/data" -l "$folder/server.log" -w -t 60 start \
        >"$folder/start.log" 2>&1 || { cat "$folder/start.log" "$folder/server.log" >&2; return 1; }
}

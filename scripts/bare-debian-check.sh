#!/usr/bin/env bash
# Runs commands (default: make demo, make test) in a clone of HEAD inside a bare Debian 12 made by debootstrap: minbase
# with git and make. As root; needs debootstrap and this machine's way to Debian's packages. All of it goes when it ends.
# usage: scripts/bare-debian-check.sh [--sudo] [COMMAND...]     --sudo: as an ordinary user with sudo instead of root
set -euo pipefail

if [ "${1:-}" != --inside ]; then
    if [ "$(id -u)" -ne 0 ]; then
        echo "bare-debian-check: run me as root" >&2
        exit 1
    fi
    # Own mounts and processes: whatever the commands leave running or mounted ends with us.
    exec unshare --mount --pid --fork --kill-child --propagation private "$0" --inside "$@"
fi
shift

user=root
include=git,make
if [ "${1:-}" = --sudo ]; then
    user=dev
    include+=,sudo
    shift
fi
commands=("$@")
[ ${#commands[@]} -gt 0 ] || commands=("make demo" "make test")

repo=$(cd "$(dirname "$0")/.." && pwd)
bare=$(mktemp -d "${TMPDIR:-/tmp}/bare-debian.XXXXXX")
# It becomes "/", which everybody may enter.
chmod 755 "$bare"
trap 'umount -R "$bare"/{proc,sys,dev/shm,dev/pts} 2>/dev/null || true; rm -rf --one-file-system "$bare"' EXIT

echo "== debootstrap --variant=minbase --include=$include bookworm"
if ! debootstrap --variant=minbase --include="$include" bookworm "$bare" >"$bare.log" 2>&1; then
    cat "$bare.log" >&2
    exit 1
fi
rm -f "$bare.log"

# Names and packages are found the way this machine finds them.
cp -L /etc/resolv.conf /etc/hosts "$bare/etc/"
rm -f "$bare/etc/apt/sources.list"
cp -r /etc/apt/sources.list /etc/apt/sources.list.d "$bare/etc/apt/" 2>/dev/null || true
for file in $(grep -lE '^ *Acquire' /etc/apt/apt.conf.d/* 2>/dev/null || true); do
    cp "$file" "$bare/etc/apt/apt.conf.d/"
done
# npm speaks TLS; whom this machine trusts beyond Debian's list becomes trusted when ca-certificates is installed.
mkdir -p "$bare/usr/local/share/ca-certificates"
cp /usr/local/share/ca-certificates/*.crt "$bare/usr/local/share/ca-certificates/" 2>/dev/null || true

mount -t proc proc "$bare/proc"
mount -t sysfs -o ro sysfs "$bare/sys" 2>/dev/null || true
mkdir -p "$bare/dev/shm" "$bare/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$bare/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$bare/dev/pts"

home=/root
if [ "$user" != root ]; then
    home=/home/$user
    chroot "$bare" useradd --create-home --shell /bin/bash "$user"
    echo "$user ALL=(ALL) NOPASSWD: ALL" >"$bare/etc/sudoers.d/$user"
    chmod 440 "$bare/etc/sudoers.d/$user"
fi
chmod 700 "$bare$home"
git clone --quiet --no-local "$repo" "$bare$home/sync_engine"
chroot "$bare" chown -R "$user:$user" "$home/sync_engine"

status=0
for command in "${commands[@]}"; do
    echo "== as $user: $command"
    from=$SECONDS
    chroot "$bare" setpriv --reuid="$user" --regid="$user" --init-groups env -i \
        HOME="$home" USER="$user" PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb \
        NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt \
        sh -c "cd ~/sync_engine && $command" </dev/null || status=$?
    echo "== status $status after $((SECONDS - from)) s"
    [ "$status" -eq 0 ] || break
done

# A private server must not have left a cluster or a running service behind.
left=$(chroot "$bare" sh -c 'pg_lsclusters -h 2>/dev/null' || true)
left+=$(cat "$bare"/proc/[0-9]*/comm 2>/dev/null | grep -E 'postgres|pgbouncer|sync-exec' || true)
if [ -n "$left" ]; then
    echo "== left behind:"
    echo "$left"
    status=1
fi
exit "$status"

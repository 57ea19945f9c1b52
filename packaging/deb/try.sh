#!/bin/sh
# Try the package in a Debian system that has nothing else: install, verify, start, upgrade, remove, purge. As root.
#
#   packaging/deb/try.sh [OLD.deb NEW.deb]        without packages, both are built from this source
#   ROOT=folder packaging/deb/try.sh ...          an empty system that debootstrap made, used as it is and kept
#
# Nothing of this machine is used but its kernel and debootstrap. It stops at the first thing that is not as it should.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
[ "$(id -u)" -eq 0 ] || { echo "try.sh: run it as root; it makes a system of its own in a folder" >&2; exit 1; }
work=$(mktemp -d)
root=${ROOT:-$work/root}
leave() {
    umount "$root/proc" 2>/dev/null || true
    rm -rf "$work"
}
trap leave EXIT
trap 'exit 130' INT TERM
in_root() {
    chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"
}
fail() {
    echo "try.sh: $*" >&2
    exit 1
}

if [ $# -eq 2 ]; then
    old=$1 new=$2
else
    echo "== two packages of this source"
    old=$("$here/build.sh" --output "$work" | tail -n 1)
    "$here/build.sh" --output "$work" --version "$(dpkg-deb --field "$old" Version)+next" > /dev/null
    new=$(ls "$work"/*+next*.deb)
fi

if [ ! -d "$root/etc" ]; then
    echo "== an empty system"
    . /etc/os-release
    debootstrap --variant=minbase --include=python3,python3-systemd,procps,adduser,systemd "$VERSION_CODENAME" "$root" \
        > "$work/log" || { cat "$work/log"; exit 1; }
fi
mount -t proc proc "$root/proc"
mkdir "$root/try"
cp "$old" "$root/try/old.deb"
cp "$new" "$root/try/new.deb"
cp "$here/service.py" "$root/try/"
contents() {
    # Not what the package manager notes about itself, nor Python's own cached bytecode.
    in_root find / -xdev \( -path /proc -o -path /run -o -path /try -o -path /var/lib/dpkg -o -path /var/log -o -path /var/cache/ldconfig \
        -o -path '/etc/passwd-' -o -path '/etc/shadow-' -o -path '/etc/group-' -o -path '/etc/gshadow-' \
        -o -path '/usr/lib/python3*/__pycache__' -o -path '/tmp' \) -prune -o -print | sort
    in_root getent passwd
    in_root getent group
}
contents > "$work/before"

echo "== install $(dpkg-deb --field "$old" Version)"
in_root dpkg --install /try/old.deb > "$work/log" || { cat "$work/log"; exit 1; }
in_root fieldgate version
in_root fieldgate check /etc/fieldgate/fieldgate.toml
said=$(in_root systemd-analyze verify --man=no /usr/lib/systemd/system/fieldgate.service 2>&1) || true
[ -z "$said" ] || fail "systemd-analyze verify: $said"
exposure=$(in_root systemd-analyze security --offline=true /usr/lib/systemd/system/fieldgate.service | tail -n 1)
echo "  $exposure"
echo "$exposure" | sed 's/.*: \([0-9.]*\) .*/\1/' | awk '{ exit !($1 > 0 && $1 <= 2.0) }' || fail "that is more than 2.0"
echo "  packed $(du -k "$root/try/old.deb" | cut -f 1) kB, installed $(dpkg-deb --field "$old" Installed-Size) kB"

echo "== start, with uplinks that are not there, so that records wait"
cat >> "$root/etc/fieldgate/fieldgate.toml" <<'END'

[uplink.cloud]
mqtt = "mqtt://127.0.0.1:1"

[uplink.lake]
kafka = "kafka://127.0.0.1:1"
END
edited=$(sha256sum < "$root/etc/fieldgate/fieldgate.toml")
waiting='import json,sys; print(json.load(sys.stdin)["uplink"]["waiting_records"])'
in_root python3 /try/service.py sh -c "fieldgate status && fieldgate status --json | python3 -c '$waiting' > /try/waiting"
before=$(cat "$root/try/waiting")
[ "$before" -gt 0 ] || fail "no record waits, so the upgrade would prove nothing"
user=$(in_root id -u fieldgate)

echo "== upgrade to $(dpkg-deb --field "$new" Version)"
in_root dpkg --install /try/new.deb > "$work/log" 2>&1 || { cat "$work/log"; exit 1; }
[ "$(sha256sum < "$root/etc/fieldgate/fieldgate.toml")" = "$edited" ] || fail "the upgrade changed the configuration"
[ "$(in_root id -u fieldgate)" = "$user" ] || fail "the upgrade changed the user"
in_root python3 /try/service.py sh -c "fieldgate status --json | python3 -c '$waiting' > /try/waiting"
after=$(cat "$root/try/waiting")
[ "$after" -ge "$before" ] || fail "$before records waited, after the upgrade $after"
echo "  $before records waited, after the upgrade and another start $after"

echo "== remove keeps configuration and records, purge keeps nothing"
in_root dpkg --remove fieldgate > /dev/null
[ -e "$root/etc/fieldgate/fieldgate.toml" ] || fail "removing took the configuration away"
[ -e "$root/var/lib/fieldgate" ] || fail "removing took the records away"
[ ! -e "$root/opt/fieldgate" ] || fail "removing left: $(in_root find /opt/fieldgate | head -n 5)"
in_root dpkg --purge fieldgate > /dev/null
contents > "$work/after"
rm -rf "$root/try"
diff "$work/before" "$work/after" || fail "that is what differs after purging"
echo "== all as it should be"

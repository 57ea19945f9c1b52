#!/bin/sh
# Make sure that Debian packages are there: install them when root, print the one line to run when not.
#
#   debian-packages.sh --unless 'TEST COMMAND' PACKAGE ...
#
# Services that the packages bring (a broker, a metrics server) are not started: the tests start their own.
set -eu

[ "$1" = --unless ]
already=$2
shift 2
if sh -c "$already" >/dev/null 2>&1; then
    exit 0
fi
if ! command -v apt-get >/dev/null 2>&1; then
    echo "Missing: $* (named as Debian names them). Install them with your system's package manager, then run make again." >&2
    exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "Missing system packages. Run this once, then make again:" >&2
    echo "    sudo apt-get install --no-install-recommends $*" >&2
    exit 1
fi

policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT INT TERM
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
fi
echo "Installing Debian packages: $*"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
if ! { apt-get update && apt-get install --yes --no-install-recommends "$@"; } > "$log" 2>&1; then
    cat "$log" >&2
    rm -f "$log"
    echo "apt-get could not install: $*" >&2
    exit 1
fi
rm -f "$log"
if ! sh -c "$already" >/dev/null 2>&1; then
    echo "Installed $*, and this still fails: $already" >&2
    exit 1
fi

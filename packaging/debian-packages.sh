#!/bin/sh
# Make sure that Debian packages are there: install them when root, print the one line to run when not.
#
#   debian-packages.sh --unless 'TEST COMMAND' PACKAGE ...
#
# Services that the packages bring (a broker, a metrics server) are not started now: the tests start their own.
set -eu

[ "$1" = --unless ]
already=$2
shift 2
# Debian keeps some programs out of an ordinary user's path.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
if sh -c "$already" >/dev/null 2>&1; then
    exit 0
fi
if ! command -v apt-get >/dev/null 2>&1; then
    echo "Missing: $* (named as Debian names them). Install them with your system's package manager, then run make again." >&2
    exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "Missing system packages. Run this once as root, then make again:" >&2
    echo "    apt-get update && apt-get install --yes --no-install-recommends $*" >&2
    exit 1
fi

# This file tells every package's script to start nothing. It goes again at the end; one that was there stays.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' INT TERM
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
"$(dirname "$0")/with-progress.sh" "Installing Debian packages: $*" \
    sh -c 'apt-get update && apt-get install --yes --no-install-recommends "$@"' apt "$@" || {
    echo "apt-get could not install: $*" >&2
    exit 1
}
if ! sh -c "$already" >/dev/null 2>&1; then
    echo "Installed $*, and this still fails: $already" >&2
    exit 1
fi

#!/bin/sh
# Run a command that takes long, and show what it is at:
#
#   with-progress.sh 'What it does' COMMAND ...
#
# Its output is kept back, but for the last line every two seconds, and shown whole when it fails.
set -eu

title=$1
shift
log=$(mktemp)
ticker=
trap 'kill "$ticker" 2>/dev/null || true; rm -f "$log"' EXIT
trap 'exit 130' INT TERM

tick() {
    seconds=0
    while sleep 2 >/dev/null 2>&1; do
        seconds=$((seconds + 2))
        last=$(grep -v '^ *$' "$log" | tail -n 1 | tr -d '\r' | cut -c 1-90)
        if [ -t 1 ]; then
            printf '\r\033[K  %3d s  %s' "$seconds" "$last"
        else
            printf '  %3d s  %s\n' "$seconds" "$last"
        fi
    done
}

echo "$title"
tick &
ticker=$!
status=0
"$@" > "$log" 2>&1 < /dev/null || status=$?
kill "$ticker" 2>/dev/null || true
if [ -t 1 ]; then
    printf '\r\033[K'
fi
if [ "$status" -ne 0 ]; then
    cat "$log" >&2
fi
exit "$status"

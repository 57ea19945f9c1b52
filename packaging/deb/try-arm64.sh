#!/bin/sh
# Run the golden vectors of kernels and codecs on the arm64 package, under qemu's emulation of the processor. As root.
#
#   packaging/deb/try-arm64.sh [PACKAGE.deb]       without one, it is built from this source
#
# Debian's arm64 Python is unpacked into a folder, the package too. It shows that the wheels load, that Numba compiles for
# the processor, and that the results are those of amd64. It does not show what only a real processor has: its order of
# memory accesses between threads, and its speed.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
source=$(cd "$here/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
if [ $# -eq 1 ]; then
    package=$1
else
    echo "== the package"
    package=$("$here/build.sh" --architecture arm64 --output "$work" | tail -n 1)
fi
echo "== Debian's Python for arm64"
. /etc/os-release
root=$work/root
debootstrap --arch=arm64 --foreign --variant=minbase --include=python3 "$VERSION_CODENAME" "$root" > "$work/log" \
    || { cat "$work/log"; exit 1; }
for each in "$root"/var/cache/apt/archives/*.deb "$package"; do
    dpkg-deb --extract "$each" "$root"
done
echo "== what the tests need"
minor=$(ls "$root/usr/bin" | sed -n 's/^python3\.\([0-9]*\)$/\1/p')
python3 -m venv "$work/tools"
"$work/tools/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile --only-binary :all: \
    --implementation cp --python-version "3.$minor" --platform manylinux2014_aarch64 --platform manylinux_2_17_aarch64 \
    --constraint "$source/constraints.txt" --target "$work/site" pytest
# Without the source beside them: the package's modules are those that are tested.
mkdir "$work/run"
cp -r "$source/tests" "$work/run/tests"
cd "$work/run"
emulated() {
    qemu-aarch64-static -L "$root" -E PYTHONHOME="$root/usr" -E PYTHONDONTWRITEBYTECODE=1 \
        -E PYTHONPATH="$root/opt/fieldgate/lib/python3.$minor/site-packages:$work/site" -E NUMBA_CACHE_DIR="$work/numba" \
        "$root/usr/bin/python3.$minor" "$@"
}
echo "== the package on $(emulated -c 'import platform; print(platform.machine())')"
emulated -m gateway version
emulated -m pytest -q -s -p no:cacheprovider tests/golden

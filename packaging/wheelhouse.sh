#!/bin/sh
# All that an installation without a network needs, in one archive: packaging/wheelhouse.sh [OUTPUT-FOLDER]
#
# Wheels in the versions of constraints.txt, for the Python, the architecture and the libc of this machine; carry it to one
# of the same kind. install.sh in it makes a virtual environment of them and asks nobody.
set -eu

source=$(cd "$(dirname "$0")/.." && pwd)
output=${1:-$source/dist}
python=${PYTHON:-python3}
version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' "$source/gateway/__init__.py")
tag=$($python -c 'import platform, sys; print(f"py3{sys.version_info.minor}-{platform.machine()}")')
name=fieldgate-$version-$tag
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
mkdir -p "$output" "$work/$name/wheels"

echo "Collecting the wheels"
$python -m venv "$work/tools"
"$work/tools/bin/python" -m pip install --quiet --disable-pip-version-check --constraint "$source/constraints.txt" hatchling
"$work/tools/bin/python" -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation \
    --wheel-dir "$work/$name/wheels" "$source"
"$work/tools/bin/python" -m pip download --quiet --disable-pip-version-check --only-binary :all: \
    --constraint "$source/constraints.txt" --dest "$work/$name/wheels" "$work/$name"/wheels/fieldgate-*.whl nats-py \
    confluent-kafka
cat > "$work/$name/install.sh" <<'END'
#!/bin/sh
# Install fieldgate from the wheels beside this script, without a network: install.sh [FOLDER]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
to=${1:-/opt/fieldgate}
(cd "$here" && sha256sum --quiet --check SHA256SUMS)
${PYTHON:-python3} -m venv "$to"
"$to/bin/python" -m pip install --quiet --disable-pip-version-check --no-index --find-links "$here/wheels" fieldgate nats-py \
    confluent-kafka
"$to/bin/fieldgate" version
END
chmod 755 "$work/$name/install.sh"
(cd "$work/$name" && LC_ALL=C && sha256sum install.sh wheels/* > SHA256SUMS)
# The same wheels make the same archive: one order, one owner, one time, and no name in the compressed file.
LC_ALL=C tar --create --sort=name --owner=0 --group=0 --numeric-owner --mode=u+rw,go=rX --mtime="@${SOURCE_DATE_EPOCH:-0}" \
    --directory "$work" "$name" | gzip -n > "$output/$name.tar.gz"
echo "$output/$name.tar.gz"

#!/bin/sh
# Build the Debian package of this source for this machine's release:
#
#   packaging/deb/build.sh [--version VERSION] [--output FOLDER] [--architecture amd64|arm64]
#
# Everything that fieldgate stands on but Python itself goes below /opt/fieldgate, in the versions of constraints.txt, so
# that an upgrade of the system's packages changes nothing in a running plant. The package runs on the release that it
# was built on, because the wheels belong to that release's Python. Not needed: root, a compiler, debhelper.
set -eu
# One order of files, whoever builds.
export LC_ALL=C.UTF-8

source=$(cd "$(dirname "$0")/../.." && pwd)
here=$source/packaging/deb
python=/usr/bin/python3
version=
architecture=
output=$source/dist
while [ $# -gt 0 ]; do
    case $1 in
        --version) version=$2; shift 2 ;;
        --output) output=$2; shift 2 ;;
        --architecture) architecture=$2; shift 2 ;;
        *) echo "build.sh: $1 is not an option; there are --version, --output and --architecture" >&2; exit 2 ;;
    esac
done
if [ -z "$version" ]; then
    # Debian sorts ~ before everything: 0.2.0~dev0 comes before 0.2.0.
    version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' "$source/gateway/__init__.py" | sed 's/\.dev/~dev/')
fi
command -v dpkg-deb >/dev/null || { echo "build.sh: dpkg-deb is missing; this needs a Debian system" >&2; exit 1; }
$python -c 'import ensurepip, venv' 2>/dev/null || { echo "build.sh: run: apt-get install --yes python3-venv" >&2; exit 1; }

here_is=$(dpkg --print-architecture)
architecture=${architecture:-$here_is}
case $architecture in
    amd64) machine=x86_64 ;;
    arm64) machine=aarch64 ;;
    *) echo "build.sh: $architecture: there are packages for amd64 and arm64" >&2; exit 2 ;;
esac
minor=$($python -c 'import sys; print(sys.version_info.minor)')
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
stage=$work/stage
site=$stage/opt/fieldgate/lib/python3.$minor/site-packages
umask 022
mkdir -p "$stage/DEBIAN" "$site" "$stage/opt/fieldgate/bin" "$output"

echo "Installing fieldgate and what it stands on"
$python -m venv "$work/tools"
"$work/tools/bin/python" -m pip install --quiet --disable-pip-version-check --constraint "$source/constraints.txt" hatchling
"$work/tools/bin/python" -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir "$work/wheel" "$source"
install_into() { # FOLDER [OPTION ...]
    into=$1
    shift
    "$work/tools/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile --only-binary :all: "$@" \
        --constraint "$source/constraints.txt" --target "$into" "$work"/wheel/fieldgate-*.whl nats-py confluent-kafka
}
native=$site
if [ "$architecture" = "$here_is" ]; then
    install_into "$site"
else
    # glibc 2.36, Debian 12's, runs what was built for an older one.
    install_into "$site" --implementation cp --python-version "3.$minor" --platform "manylinux2014_$machine" \
        --platform "manylinux_2_17_$machine" --platform "manylinux_2_27_$machine" --platform "manylinux_2_28_$machine"
    # Completion, schema and man page come from a copy that runs here.
    native=$work/native
    install_into "$native"
fi
# Where the wheel lay when it was installed is nobody's business, and another folder at every build.
find "$site" "$native" -path '*/fieldgate-*.dist-info/*' -name direct_url.json -delete
find "$site" "$native" -path '*/fieldgate-*.dist-info/RECORD' -exec sed -i '/\/direct_url\.json,/d' {} +
# What pip wrote into programs names that folder, too; they go, and so does what the lists of files say of them.
find "$site" -path '*.dist-info/RECORD' -exec sed -i '/^\.\.\/\.\.\/bin\//d' {} +
# Programs of the libraries, and their own tests: nobody runs them here.
rm -rf "$site/bin"
find "$site" -type d -name tests -path '*/num[bp]*/*' -prune -exec rm -rf {} +
find "$site" -type d -name tests -path '*/llvmlite/*' -prune -exec rm -rf {} +
# pip, which sqlite-utils names for its own command line, and zstandard's second way in, for PyPy: a tenth of the download.
rm -rf "$site/pip" "$site"/pip-*.dist-info "$site"/zstandard/_cffi.*

# A virtual environment, written by hand because `venv` writes the place it is built in into it.
ln -s "/usr/bin/python3.$minor" "$stage/opt/fieldgate/bin/python3"
printf 'home = /usr/bin\ninclude-system-site-packages = false\nversion = 3.%s\n' "$minor" > "$stage/opt/fieldgate/pyvenv.cfg"
cat > "$stage/opt/fieldgate/bin/fieldgate" <<'END'
#!/opt/fieldgate/bin/python3 -I
from gateway.__main__ import main

main()
END
chmod 755 "$stage/opt/fieldgate/bin/fieldgate"
# Debian's own binding to the journal; it belongs to the libsystemd that is installed.
ln -s /usr/lib/python3/dist-packages/systemd "$site/systemd"
# Never checked against the source again, so nothing is ever written below /opt.
$python -m compileall -q -j 0 --invalidation-mode unchecked-hash -s "$stage" "$site"

echo "Adding the unit, the configuration and the documentation"
install -Dm 644 "$source/packaging/fieldgate.service" "$stage/usr/lib/systemd/system/fieldgate.service"
install -Dm 640 "$here/fieldgate.toml" "$stage/etc/fieldgate/fieldgate.toml"
mkdir -p "$stage/etc/fieldgate/conf.d"
share=$stage/usr/share/fieldgate
install -Dm 644 -t "$share/prometheus" "$source"/packaging/prometheus/*.yml
install -Dm 644 -t "$share/grafana" "$source"/packaging/grafana/*.json
doc=$stage/usr/share/doc/fieldgate
install -Dm 644 "$source/packaging/README.md" "$doc/README.md"
install -Dm 644 -t "$doc" "$source/packaging/THREATS.md" "$source/packaging/LICENCES.md"
install -Dm 644 -t "$doc/examples" "$source/config/fieldgate.toml"
install -Dm 644 -t "$doc/examples/registers" "$source"/config/registers/*.csv
install -Dm 644 -t "$doc/examples/reference" "$source"/config/reference/*.csv
install -Dm 644 -t "$doc/examples/systemd" "$source"/packaging/systemd/*.conf
install -Dm 644 "$source/LICENSE" "$doc/copyright"
gzip -9n < "$source/CHANGELOG.md" > "$doc/changelog.gz"
gzip -9n < "$here/changelog" > "$doc/changelog.Debian.gz"
mkdir -p "$stage/usr/bin" "$stage/usr/share/bash-completion/completions"
ln -s /opt/fieldgate/bin/fieldgate "$stage/usr/bin/fieldgate"
run() {
    PYTHONPATH=$native PYTHONDONTWRITEBYTECODE=1 "$python" -m gateway "$@"
}
run explain --json-schema > "$share/fieldgate.schema.json"
complete() {
    _FIELDGATE_COMPLETE=$1_source run > "$work/completion" || true  # click ends with 1 after printing it
    sed 's/python3\? -m gateway/fieldgate/; s/_python_m_gateway/_fieldgate/g' "$work/completion" > "$2"
}
mkdir -p "$stage/usr/share/zsh/vendor-completions" "$stage/usr/share/fish/vendor_completions.d" "$stage/usr/share/man/man1"
complete bash "$stage/usr/share/bash-completion/completions/fieldgate"
complete zsh "$stage/usr/share/zsh/vendor-completions/_fieldgate"
complete fish "$stage/usr/share/fish/vendor_completions.d/fieldgate.fish"
PYTHONPATH=$native PYTHONDONTWRITEBYTECODE=1 "$python" "$here/manpage.py" "$version" | gzip -9n \
    > "$stage/usr/share/man/man1/fieldgate.1.gz"
"$python" "$here/sbom.py" "$site" "$version" > "$doc/sbom.cdx.json"

echo "Packing"
# As Debian counts: whole kilobytes of each file, one for all else. What a file system takes for it differs from build to build.
size=$(find "$stage" -path "$stage/DEBIAN" -prune -o -printf '%y %s\n' \
    | awk '{ kilobytes += $1 == "f" ? int(($2 + 1023) / 1024) : 1 } END { print kilobytes }')
sed -e "s/@VERSION@/$version/; s/@ARCHITECTURE@/$architecture/; s/@SIZE@/$size/" \
    -e "s/@PYTHON@/3.$minor/; s/@NEXT@/3.$((minor + 1))/" "$here/control" > "$stage/DEBIAN/control"
echo /etc/fieldgate/fieldgate.toml > "$stage/DEBIAN/conffiles"
for script in postinst prerm postrm; do
    install -m 755 "$here/$script" "$stage/DEBIAN/$script"
done
(cd "$stage" && find . -type f ! -path './DEBIAN/*' -printf '%P\0' | sort -z | xargs -0 md5sum > DEBIAN/md5sums)
package=$output/fieldgate_${version}_$architecture.deb
dpkg-deb --root-owner-group -Zxz -z2 --build "$stage" "$package" > /dev/null
echo "$package"

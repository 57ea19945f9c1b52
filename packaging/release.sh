#!/bin/sh
# Everything of one release, from a commit and nothing else: packaging/release.sh [--ref REF] [--output FOLDER] [--twice]
#
# Wheel, source distribution, wheelhouse, Debian package and bill of materials, with SHA256SUMS beside them. REF is the
# tag v<version> unless another one is named. All times in them are the commit's, so the same commit on a machine of the
# same kind, with the same registry, gives the same bytes; --twice builds a second time elsewhere and compares.
set -eu

repository=$(cd "$(dirname "$0")/.." && pwd)
version_in() { # REF
    git -C "$repository" show "$1:gateway/__init__.py" | sed -n 's/^__version__ = "\(.*\)"/\1/p'
}
ref=v$(version_in HEAD)
output=
twice=
while [ $# -gt 0 ]; do
    case $1 in
        --ref) ref=$2; shift 2 ;;
        --output) output=$2; shift 2 ;;
        --twice) twice=yes; shift ;;
        *) echo "release.sh: $1 is not an option; there are --ref, --output and --twice" >&2; exit 2 ;;
    esac
done
git -C "$repository" rev-parse --quiet --verify "$ref^{commit}" > /dev/null || {
    echo "release.sh: there is no $ref; tag the release (git tag --annotate $ref), or name a commit: --ref HEAD" >&2
    exit 2
}
version=$(version_in "$ref")
case $ref in
    v[0-9]*) [ "$ref" = "v$version" ] || { echo "release.sh: $ref says in gateway/__init__.py that it is $version" >&2; exit 1; } ;;
esac
output=${output:-$repository/dist/release-$version}
SOURCE_DATE_EPOCH=$(git -C "$repository" log -1 --format=%ct "$ref^{commit}")
export SOURCE_DATE_EPOCH
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
umask 022

build() { # FOLDER
    source=$1/source
    into=$1/release
    mkdir -p "$source" "$into"
    git -C "$repository" archive "$ref" | tar --extract --directory "$source"
    python3 -m venv "$1/tools"
    "$1/tools/bin/python" -m pip install --quiet --disable-pip-version-check --constraint "$source/constraints.txt" hatchling
    echo "Building the wheel and the source distribution"
    (cd "$source" && "$1/tools/bin/python" -m hatchling build --target wheel --target sdist --directory "$into" > "$1/log" 2>&1) \
        || { cat "$1/log" >&2; exit 1; }
    "$source/packaging/wheelhouse.sh" "$into"
    "$source/packaging/deb/build.sh" --output "$into"
    dpkg-deb --fsys-tarfile "$into"/fieldgate_*.deb \
        | tar --extract --to-stdout ./usr/share/doc/fieldgate/sbom.cdx.json > "$into/fieldgate-$version.cdx.json"
    (cd "$into" && LC_ALL=C && sha256sum fieldgate* > SHA256SUMS)
    rm -rf "$source" "$1/tools"
}

build "$work/first"
if [ -n "$twice" ]; then
    echo "Building a second time"
    build "$work/second"
    diff "$work/first/release/SHA256SUMS" "$work/second/release/SHA256SUMS" || {
        echo "release.sh: the two builds differ in what is listed above" >&2
        exit 1
    }
    echo "Both builds are the same, byte by byte"
fi
rm -rf "$output"
mkdir -p "$(dirname "$output")"
mv "$work/first/release" "$output"
cat "$output/SHA256SUMS"

#!/usr/bin/env bash
# The npm broker that the slow conformance tests run, as its lock file says, into .cache/aedes.
set -euo pipefail
cd "$(dirname "$0")/.."
target=.cache/aedes
mkdir -p "$target"
cp tests/conformance/aedes/package.json tests/conformance/aedes/package-lock.json "$target/"
cd "$target"
npm ci --no-audit --no-fund --ignore-scripts

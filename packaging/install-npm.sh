#!/usr/bin/env bash
# What the slow tests run from npm, as its lock file says, into .cache/NAME: install-npm.sh NAME
set -euo pipefail
cd "$(dirname "$0")/.."
name=$1
target=.cache/$name
mkdir -p "$target"
cp "tests/conformance/$name/package.json" "tests/conformance/$name/package-lock.json" "$target/"
cd "$target"
npm ci --no-audit --no-fund --ignore-scripts

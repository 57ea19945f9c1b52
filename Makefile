# Two commands matter: `make demo` and `make test`. Each does all of its own set-up, once.
#
#   make demo ARGS="--seconds 45"   everything at work on simulated devices
#   make test                       lint, types and all tests that take minutes; JOBS=1: one test after the other
#   make bench                      what this machine can do
#   make chaos ARGS="--rounds 500"  kill engine, gateway and broker, spoil the link; every record must arrive once
#   make month ARGS="--seed 7"      a month on a simulated clock, with a fault each hour and a crash each day
#   make soak ARGS="--minutes 60"   the whole gateway under load and faults for an hour: does it stay as it was?
#   make test-slow                  the tests that take longer
#   make test-browser               the live page in Chromium
#   make wheel                      the package, in dist/
#   make deb | try-deb              the Debian package, in dist/; try it in an empty system (root, debootstrap)
#   make test-arm64             golden vectors on the arm64 package, emulated (root, debootstrap, qemu)
#   make wheelhouse                 all wheels in one archive, for machines without a network, in dist/
#   make release ARGS=--twice   all of a release from the tag of its version, in dist/release-VERSION; twice, and compared
#   make aedes                      the npm broker that the slow tests use beside the others
#   make setup | lint | kernels | constraints | licences | clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TOOLS_STAMP := $(VENV)/.tools
PIP := $(BIN)/python -m pip
CONSTRAINED := --progress-bar off --constraint constraints.txt
ARGS ?=
# Test files that run at once. The tests wait for devices and daemons more than they compute.
JOBS ?= 2
export NUMBA_CACHE_DIR := $(CURDIR)/.cache/numba
# Debian keeps brokers out of an ordinary user's path.
export PATH := $(PATH):/usr/sbin:/sbin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# An installed gateway has its bytecode; without it, each start would compile the sources anew, for more than a second.
unexport PYTHONDONTWRITEBYTECODE

# Debian packages: what a virtual environment needs, and what the tests run beside the gateway.
APT_SETUP := python3-venv
APT_TOOLS := mosquitto mbpoll prometheus systemd procps gcc libc6-dev libmodbus-dev openssl

.DEFAULT_GOAL := help
.PHONY: help setup tools demo test test-slow test-browser unit lint kernels bench chaos month soak aedes wheel wheelhouse release licences deb try-deb test-arm64 constraints clean

help:
	@sed -n 's/^#   //p' Makefile

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@packaging/debian-packages.sh --unless "$(PYTHON) -c 'import ensurepip, venv'" $(APT_SETUP) $(if $(filter test unit tools,$(MAKECMDGOALS)),$(APT_TOOLS))
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "fieldgate needs Python 3.11 or newer; $(PYTHON) is older. Say which one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@test -x $(BIN)/python || { echo "Creating $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@packaging/with-progress.sh "Installing the build backend" $(PIP) install $(CONSTRAINED) hatchling editables
	@packaging/with-progress.sh "Installing fieldgate and what it stands on (about a minute)" $(PIP) install $(CONSTRAINED) --no-build-isolation --editable '.[dev]'
	@touch $@

tools: $(TOOLS_STAMP)

$(TOOLS_STAMP): $(STAMP) packaging/debian-packages.sh
	@packaging/debian-packages.sh --unless "command -v mosquitto && command -v mbpoll && command -v promtool && command -v systemd-analyze && command -v gcc && command -v openssl && test -e /usr/include/modbus/modbus.h && test -x /bin/kill" $(APT_TOOLS)
	@touch $@

demo: $(STAMP)
	@$(BIN)/fieldgate demo $(ARGS)

# Lint leaves a core to the compiler: with what it has compiled, the daemons of the tests start at once.
test: tools
	@$(MAKE) --no-print-directory --jobs 2 lint kernels
	@$(MAKE) --no-print-directory unit

# Drives the live page in Chromium, which is large: not part of `make test`.
BROWSER_STAMP := $(VENV)/.browser

$(BROWSER_STAMP): $(STAMP)
	@packaging/debian-packages.sh --unless "command -v chromium" chromium
	@packaging/with-progress.sh "Installing the browser's driver" $(PIP) install $(CONSTRAINED) --no-build-isolation --editable '.[dev,browser]'
	@touch $@

test-browser: $(BROWSER_STAMP)
	@$(BIN)/python -m pytest -m browser $(ARGS)

AEDES_STAMP := .cache/aedes/.installed
JSMODBUS_STAMP := .cache/jsmodbus/.installed

.cache/%/.installed: tests/conformance/%/package-lock.json packaging/install-npm.sh
	@packaging/debian-packages.sh --unless "command -v node && command -v npm" nodejs npm
	@packaging/with-progress.sh "Installing $* from npm" packaging/install-npm.sh $*
	@touch $@

aedes: $(AEDES_STAMP)

test-slow: tools $(AEDES_STAMP) $(JSMODBUS_STAMP)
	@packaging/debian-packages.sh --unless "command -v collectd" collectd-core
	@$(BIN)/python -m pytest -m slow --timeout 600 $(ARGS)

unit: $(STAMP) $(TOOLS_STAMP)
	@$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile $(ARGS)

kernels: $(STAMP)
	@$(BIN)/python -m tests.warm

soak: $(STAMP)
	@$(BIN)/fieldgate bench soak $(ARGS)

lint: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: $(STAMP)
	@$(BIN)/fieldgate bench pipeline $(ARGS)

chaos: $(STAMP)
	@$(BIN)/python -m tests.chaos $(ARGS)

month: $(STAMP)
	@$(BIN)/python -m tests.simulation.month $(ARGS)

wheel: $(STAMP)
	@packaging/with-progress.sh "Building the wheel" $(PIP) wheel --no-deps --no-build-isolation --wheel-dir dist .
	@ls -l dist/*.whl

wheelhouse:
	@packaging/with-progress.sh "Collecting the wheels" packaging/wheelhouse.sh
	@ls -l dist/fieldgate-*.tar.gz

release:
	@packaging/with-progress.sh "Building the release" packaging/release.sh $(ARGS)
	@cat dist/release-*/SHA256SUMS 2>/dev/null || true  # ARGS may name another folder

licences: $(STAMP)
	@$(BIN)/python packaging/deb/licences.py > packaging/LICENCES.md && git --no-pager diff --stat packaging/LICENCES.md

deb:
	@packaging/with-progress.sh "Building the Debian package" packaging/deb/build.sh
	@ls -l dist/*.deb

try-deb:
	@packaging/debian-packages.sh --unless "command -v debootstrap" debootstrap
	@packaging/deb/try.sh

test-arm64:
	@packaging/debian-packages.sh --unless "command -v debootstrap && command -v qemu-aarch64-static" debootstrap qemu-user-static
	@packaging/deb/try-arm64.sh

# The newest versions of all that a developer installs, for whoever refreshes them: look at the difference, run the tests,
# write down the licences (`make licences`).
constraints:
	@rm -rf .cache/constraints && $(PYTHON) -m venv .cache/constraints
	@packaging/with-progress.sh "Installing the newest versions" .cache/constraints/bin/python -m pip install --progress-bar off '.[dev,browser]'
	@.cache/constraints/bin/python -m pip freeze --exclude fieldgate > constraints.txt
	@rm -rf .cache/constraints && git --no-pager diff --stat constraints.txt

clean:
	rm -rf $(VENV) .cache dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis

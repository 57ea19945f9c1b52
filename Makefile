# Two commands matter: `make demo` and `make test`. Each does all of its own set-up, once.
#
#   make demo ARGS="--seconds 45"   everything at work on simulated devices
#   make test                       lint, types and all tests that take minutes
#   make bench                      what this machine can do
#   make chaos ARGS="--rounds 500"  kill gateway and broker, cut and hold the link; then every record must have arrived once
#   make setup | lint | wheel | clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TOOLS_STAMP := $(VENV)/.tools
ARGS ?=
export NUMBA_CACHE_DIR := $(CURDIR)/.cache/numba
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# Debian packages: what a virtual environment needs, and what the tests run beside the gateway.
APT_SETUP := python3-venv
APT_TOOLS := mosquitto mbpoll prometheus systemd

.DEFAULT_GOAL := help
.PHONY: help setup tools demo test unit lint bench chaos wheel clean

help:
	@sed -n 's/^#   //p' Makefile

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@packaging/debian-packages.sh --unless "$(PYTHON) -c 'import ensurepip, venv'" $(APT_SETUP)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "fieldgate needs Python 3.11 or newer; $(PYTHON) is older. Say which one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@test -x $(BIN)/python || { echo "Creating $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "Installing fieldgate and what it stands on (about a minute)"
	@$(BIN)/python -m pip install --quiet --progress-bar on --constraint constraints.txt --editable '.[dev]'
	@touch $@

tools: $(TOOLS_STAMP)

$(TOOLS_STAMP): $(STAMP) packaging/debian-packages.sh
	@packaging/debian-packages.sh --unless "command -v mosquitto && command -v mbpoll && command -v promtool && command -v systemd-analyze" $(APT_TOOLS)
	@touch $@

demo: $(STAMP)
	@$(BIN)/fieldgate demo $(ARGS)

test: lint unit

unit: $(STAMP) $(TOOLS_STAMP)
	@$(BIN)/python -m pytest $(ARGS)

lint: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: $(STAMP)
	@$(BIN)/fieldgate bench pipeline $(ARGS)

chaos: $(STAMP)
	@$(BIN)/python -m tests.support.chaos $(ARGS)

wheel: $(STAMP)
	@$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:
	rm -rf $(VENV) .cache dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis

"""Kernels with bounds checks: no planned table reads outside a reply, and no stream leads the poll thread astray."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.kernelcache import VARIABLE

ROOT = Path(__file__).parents[2]
SECONDS = 5.0


def told_by(module: str, seconds: float) -> dict[str, int]:
    """The last line of a program of this folder, run with checked kernels and a seed of its own."""
    seed = random.randrange(1 << 32)
    cache = Path(os.environ[VARIABLE]).with_name("numba-bounds")
    environment = {**os.environ, "NUMBA_BOUNDSCHECK": "1", VARIABLE: str(cache), "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-m", f"tests.fuzz.{module}", str(seed), str(seconds)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, f"seed {seed}:\n{done.stderr[-3000:]}"
    told: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    print(told)
    return told


@pytest.mark.slow
def test_decoders_never_leave_the_reply() -> None:
    told = told_by("modbus_bounds", SECONDS)
    assert told["overrun_is_caught"], told
    assert told["decoded"] > 100, told


@pytest.mark.slow
def test_the_poll_thread_makes_of_any_stream_what_the_framer_and_the_check_make_of_it() -> None:
    told = told_by("modbus_thread", SECONDS)
    assert all(told[what] > 100 for what in ("streams", "values", "strays", "misfits", "refusals", "closed")), told

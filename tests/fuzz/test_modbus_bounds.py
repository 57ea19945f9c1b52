"""No planned table reads outside a reply that passed the check, whatever it holds: kernels with bounds checks."""

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


@pytest.mark.slow
def test_decoders_never_leave_the_reply() -> None:
    seed = random.randrange(1 << 32)
    cache = Path(os.environ[VARIABLE]).with_name("numba-bounds")
    environment = {**os.environ, "NUMBA_BOUNDSCHECK": "1", VARIABLE: str(cache), "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-m", "tests.fuzz.modbus_bounds", str(seed), str(SECONDS)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, f"seed {seed}:\n{done.stderr[-3000:]}"
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["overrun_is_caught"], told
    assert told["decoded"] > 100, told

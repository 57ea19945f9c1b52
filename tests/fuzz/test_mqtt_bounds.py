"""No payload makes a decoder of MQTT read outside what has arrived: kernels with bounds checks, in their own cache."""

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
SECONDS = 8.0


@pytest.mark.slow
def test_decoders_never_leave_the_message() -> None:
    seed = random.randrange(1 << 32)
    cache = Path(os.environ[VARIABLE]).with_name("numba-bounds")
    environment = {**os.environ, "NUMBA_BOUNDSCHECK": "1", VARIABLE: str(cache), "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-m", "tests.fuzz.mqtt_bounds", str(seed), str(SECONDS)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"seed {seed}:\n{done.stderr[-3000:]}"
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["overrun_is_caught"], told
    assert told["messages"] > 500, told
    assert told["fast"] > 20, told

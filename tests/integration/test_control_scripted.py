"""The executive without the JIT is the same executive: on a scripted link it sends the same bytes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.scripted_link import run

SEED = 7


@pytest.mark.parametrize("seed", [SEED, pytest.param(SEED + 1, marks=pytest.mark.slow)])
def test_compiled_and_plain_it_sends_the_same_bytes_and_takes_the_same_modes(seed: int) -> None:
    plain = subprocess.run(
        [sys.executable, "-m", "tests.support.scripted_link", str(seed)],
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout.splitlines()
    compiled = run(seed)
    assert compiled == plain
    modes = [line for line in compiled if "mode" in line]
    assert len(modes) > 6, "the script leads through all modes"
    assert sum(line[14:16] == "06" for line in compiled) > 40, "and many writes"

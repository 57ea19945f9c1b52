"""Before the first test: one kernel cache for this process and all that it starts, and Ctrl-C as a terminal has it.

No test may need another one before it. `TEST_ORDER=any make unit` tries that: files in a random order, and the tests of
each; the seed is printed, and `TEST_ORDER=seed` is that order again.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.kernelcache import choose

choose(os.environ)
# An installed gateway has its bytecode; the tests start a hundred, and each would compile its sources anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# A shell that runs the tests in the background has them ignore SIGINT, which every child would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)

ORDER = os.environ.get("TEST_ORDER", "")
SEED = str(random.randrange(10**9)) if ORDER == "any" else ORDER
if SEED:
    os.environ["TEST_ORDER"] = SEED  # for those that run beside this process


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if SEED:
        terminalreporter.write_line(f"order of the tests: TEST_ORDER={SEED}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file's tests stay together, or what they share would be made for each of them anew."""
    if not SEED:
        return
    order = random.Random(SEED)
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    shuffled = list(files.values())
    order.shuffle(shuffled)
    for tests in shuffled:
        order.shuffle(tests)
    items[:] = [item for tests in shuffled for item in tests]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB of its own, to be filled."""
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("this container may not mount a tmpfs")
    yield disk
    subprocess.run(["umount", disk], check=True)

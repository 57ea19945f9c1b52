"""A disk that fails as a test says, for a process of its own: libc's calls on files are stood between (native/)."""

from __future__ import annotations

import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path

NATIVE = Path(__file__).parent / "native"


@cache
def preloaded(name: str) -> Path:
    """The library made of native/NAME.c, compiled once a run."""
    folder = Path(tempfile.mkdtemp(prefix="fieldgate-preloaded-"))
    library = folder / f"{name}.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-Wall", "-o", library, NATIVE / f"{name}.c", "-ldl"], check=True)
    return library


class FaultyDisk:
    """`environment` is for the process; rules hold from the next call of it on."""

    def __init__(self, folder: Path) -> None:
        self._rules = folder / "rules"
        self._rules.touch()
        self.environment = {**os.environ, "LD_PRELOAD": str(preloaded("faulty_disk")), "FAULTY_DISK": str(self._rules)}

    def fail(self, *rules: str) -> None:
        """Lines of `operation part what`, as native/faulty_disk.c has them."""
        fresh = self._rules.with_suffix(".new")
        fresh.write_text("\n".join(rules) + "\n")
        fresh.rename(self._rules)

    def heal(self) -> None:
        self.fail()

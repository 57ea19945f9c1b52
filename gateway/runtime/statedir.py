"""The state directory: one gateway works in it at a time, and what lies where."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO, Final

SPOOL_FILE: Final = "spool.db"
PARKING_FILE: Final = "parked.db"
"""Disposable."""
JOURNAL_FOLDER: Final = "journal"


class StateInUse(Exception):
    """Another gateway works in the same state_dir."""


def hold_state_dir(state_dir: Path) -> IO[str]:
    """Keep others out while the file that is returned is open. Raises StateInUse."""
    held = (state_dir / "in-use").open("w", encoding="utf-8")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        held.close()
        raise StateInUse(
            f"{state_dir}: another gateway is at work here; stop it, or give this one a state_dir of its own"
        ) from error
    return held

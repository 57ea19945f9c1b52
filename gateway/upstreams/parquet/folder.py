"""The folder's names, its lock, its logs, and how large it is."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import BinaryIO, Final

from gateway.disk import sync_folder
from gateway.protocol.records.log import PREFIX_BYTES, Frame, find_frame, frame_of, prefix_of

LOGS: Final = "_log"
"""Readers of data sets pass over names that begin with an underscore."""


class Taken(Exception):
    """Somebody else holds the lock."""


def lock(folder: Path) -> FileIO:
    """Held until the file is closed, and by children that inherit it. Raises Taken or OSError."""
    if not (folder / LOGS).exists():
        (folder / LOGS).mkdir()
        sync_folder(folder)
    held = FileIO(folder / LOGS / "lock", "a")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        held.close()
        raise Taken from error
    return held


def log_path(folder: Path, number: int) -> Path:
    return folder / LOGS / f"{number:06}.log"


def logs(folder: Path) -> list[int]:
    """Their numbers; the last one is written to, those before it are closed."""
    return sorted(int(path.stem) for path in (folder / LOGS).glob("*.log") if path.stem.isdecimal())


def done(folder: Path) -> list[int]:
    """Logs whose files hold, and may not all have their names yet."""
    return sorted(int(path.stem) for path in (folder / LOGS).glob("*.done") if path.stem.isdecimal())


def is_converted(folder: Path) -> bool:
    """Whether there is nothing but the log that is written to."""
    return len(logs(folder)) <= 1 and not done(folder)


def frames(log: BinaryIO) -> Iterator[Frame | None]:
    """All whole ones; None where damage stands between them. Ends where nothing whole follows."""
    while True:
        at = log.tell()
        prefix = prefix_of(log.read(PREFIX_BYTES))
        found = frame_of(prefix, log.read(prefix.rest_bytes)) if prefix is not None else None
        if found is None:
            log.seek(at)
            behind = find_frame(log.read())
            if behind < 0:
                log.seek(at)
                return
            log.seek(at + behind)
        yield found


def size(folder: Path) -> int:
    """Of all files in it, in bytes."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(place) / name).stat().st_size
            except FileNotFoundError:
                # A reader took it away meanwhile.
                continue
    return total

"""The wire of the operator's socket: one JSON object a line, each answered by one.

> {"do":"alarm.acknowledge","with":{"alarm":"boiler.temperature/high"}}
< {"ok":true,"says":"boiler.temperature/high acknowledged"}
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

SOCKET_NAME: Final = "operator.sock"
LINE_BYTES_MAX: Final = 65_536
"""A longer request is refused, and its connection closed."""


class Asked(msgspec.Struct, frozen=True):
    """`with_` is read by whoever does it."""

    do: str
    with_: msgspec.Raw = msgspec.field(name="with", default_factory=lambda: msgspec.Raw(b"{}"))


class Answered(msgspec.Struct, frozen=True, omit_defaults=True):
    """`says` is what was done, or why nothing was."""

    ok: bool
    says: str
    result: object = None


@contextmanager
def short(path: Path) -> Iterator[str]:
    """The same place in few bytes: a socket's address holds 107, and a folder's path may be longer (unix(7))."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def socket_path(state_dir: Path) -> Path:
    return state_dir / SOCKET_NAME

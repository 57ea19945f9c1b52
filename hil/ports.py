"""Ports for servers that are told theirs when they start, after nobody has held it for a while.

A port that the kernel gives out (bind to 0) may be given to somebody else before the server has it. So these lie below
the kernel's own, and a file that all programs of a user share says which one was chosen last: several at once, a
gateway and its test or two test runs, do not choose the same.
"""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from pathlib import Path

FIRST = 20_000
COUNT = 12_000


def free_port() -> int:
    """A TCP port of 127.0.0.1 that was free just now, and is chosen again only after thousands of others."""
    path = Path(tempfile.gettempdir()) / f"fieldgate-ports-{os.getuid()}"
    chosen = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(chosen, fcntl.LOCK_EX)
        last = os.pread(chosen, 5, 0)
        number = int(last) if last.isdigit() else os.getpid()
        for step in range(1, COUNT + 1):
            port = FIRST + (number + step) % COUNT
            if _is_free(port):
                os.pwrite(chosen, f"{port - FIRST:05}".encode(), 0)
                return port
    finally:
        os.close(chosen)
    raise OSError(f"none of the ports {FIRST} to {FIRST + COUNT - 1} is free")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True

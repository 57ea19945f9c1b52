"""Child processes that Ctrl-C does not reach, and that do not outlive whoever started them.

A terminal sends its SIGINT to the whole foreground process group; a child in a group of its own is spared, so that its
parent can end it in its turn. The kernel kills it when the parent dies, whatever the parent died of.
"""

from __future__ import annotations

import ctypes
import signal
from collections.abc import Callable
from typing import Final, TypedDict

PR_SET_PDEATHSIG: Final = 1
_libc: Final = ctypes.CDLL(None)


class Options(TypedDict):
    """Keyword arguments of subprocess.Popen and asyncio.create_subprocess_exec."""

    process_group: int
    preexec_fn: Callable[[], object]


def _die_with_parent() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


ON_ITS_OWN: Final[Options] = {"process_group": 0, "preexec_fn": _die_with_parent}

"""The executive's clock: CLOCK_MONOTONIC, or the time that a script says.

A script (`SCRIPT_NS`, set before the start) makes a run repeatable to the bit: the executive then takes one turn and
returns. With the JIT off the same script gives the same bytes on the wire, which is how both are compared.
"""

from __future__ import annotations

from typing import Any

from gateway.control import layout as at
from gateway.control.layout import Blocks
from gateway.native import libc
from gateway.native.jit import inner


@inner
def now_ns(b: Blocks) -> Any:
    if b.words[at.SCRIPT_NS] != 0:
        return b.words[at.SCRIPT_NS]
    return libc.monotonic_ns(b.timespec)

"""Events: one immutable line for each change of state, never one per sample.

A component says what changed by calling the `Emit` it was given; the runtime logs it, keeps the latest for the page,
and sends it upstream. Nothing else in the gateway writes a log line about the plant.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias


class Severity(IntEnum):
    """Numbered as syslog does (RFC 5424, 6.2.1), so that journald needs no table."""

    ERROR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6


@dataclass(frozen=True, slots=True)
class Event:
    """`kind` is a short dotted word (`link.down`); `subject` the link, device, tag or loop; `message` says it whole."""

    time_ns: int
    severity: Severity
    kind: str
    subject: str
    message: str


Emit: TypeAlias = Callable[[Event], None]

"""Deadbands: how far a value may move before it is news, and what is remembered of the last one that was.

A reading is news when nothing was passed on before it, when its quality changed, when `heartbeat_ns` have passed since
the last one, or when it differs by more than one of its deadbands allows, `hold_ns` after the last one or later. The
difference is taken from the last reading that was passed on, never from the last one read: a slow drift is not lost.

No Numba here: commands that only plan must not pay for loading a compiler. The kernel is in `difference`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gateway.core.types import Kind, Samples

RULE = np.dtype(
    [
        ("change", "<f8"),
        ("fraction", "<f8"),
        ("hold_ns", "<i8"),
        ("heartbeat_ns", "<i8"),
        ("kind", "i1"),
        ("is_ruled", "i1"),
    ],
    align=True,
)
"""`change` and `fraction` (of the last value) are infinite where they do not count."""

MEMORY = np.dtype(
    {
        "names": ["value", "bits", "sent_ns", "quality", "is_known"],
        "formats": ["<f8", "<i8", "<i8", "<u4", "i1"],
        "offsets": [0, 0, 8, 16, 20],
        "itemsize": 24,
    }
)
"""The last reading that was passed on; `value` and `bits` are one cell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadband:
    """When a reading of a tag is news."""

    change: float = math.inf
    fraction: float = math.inf
    hold_ns: int = 0
    heartbeat_ns: int


def rules_of(tags: Sequence[tuple[Kind, Deadband | None]]) -> Samples:
    """A RULE for each."""
    rules = np.zeros(len(tags), RULE)
    for record, (kind, deadband) in zip(rules, tags, strict=True):
        record["kind"] = kind
        if deadband is not None:
            record["is_ruled"] = True
            record["change"] = deadband.change
            record["fraction"] = deadband.fraction
            record["hold_ns"] = deadband.hold_ns
            record["heartbeat_ns"] = deadband.heartbeat_ns
    return rules

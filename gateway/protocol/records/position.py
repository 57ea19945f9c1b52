"""The position of an upstream in JSON: up to which sequence it holds each segment.

    {"format": "fieldgate-position-1", "held": [{"stream": "samples", "segment": 70, "sequence": 41}]}

An HTTP server is asked for it, and may leave the format out; in Kafka it lies in a topic of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias

import msgspec

Place: TypeAlias = tuple[str, int]
"""Stream and segment."""

FORMAT: Final = "fieldgate-position-1"


class _Held(msgspec.Struct):
    stream: str
    segment: int
    sequence: int


class _Position(msgspec.Struct):
    held: list[_Held]
    format: str = FORMAT


def decoded(value: bytes) -> dict[Place, int]:
    """By place, up to which sequence everything is held. Raises ValueError."""
    found = msgspec.json.decode(value, type=_Position)
    if found.format != FORMAT:
        raise ValueError(f"its format is {found.format!r}, and {FORMAT!r} is known here")
    return {(each.stream, each.segment): each.sequence for each in found.held}


def encoded(held: Iterable[tuple[Place, int]]) -> bytes:
    return msgspec.json.encode(_Position([_Held(*place, sequence) for place, sequence in held]))

"""How the payloads of a topic are built: what the settings say, and both decoders go by."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from gateway.core.types import Quality


class Layout(IntEnum):
    """What the messages of a topic hold."""

    PLAIN = 0
    """The value itself, or one JSON object."""
    SPARKPLUG = 1
    """NDATA or DDATA of Sparkplug B."""
    READINGS = 2
    """A JSON array of readings, each an object with a name."""
    SENML = 3
    """Records of RFC 8428, as JSON."""
    STRUCT = 4
    """Numbers at fixed places, as a program in C lays them out."""


class TimeForm(IntEnum):
    """What a time in a payload counts, from 1970 on."""

    AUTO = 0
    """By its magnitude, or a text as in RFC 3339."""
    S = 1
    MS = 2
    US = 3
    NS = 4
    ISO8601 = 5
    """A text only."""


class WireForm(IntEnum):
    """A number in a struct."""

    BOOL = 0
    INT8 = 1
    UINT8 = 2
    INT16 = 3
    UINT16 = 4
    INT32 = 5
    UINT32 = 6
    INT64 = 7
    UINT64 = 8
    FLOAT32 = 9
    FLOAT64 = 10


WIRE_BYTES: Final = (1, 1, 1, 2, 2, 4, 4, 8, 8, 4, 8)
"""By WireForm."""
SIGNED: Final = frozenset({WireForm.INT8, WireForm.INT16, WireForm.INT32, WireForm.INT64})
FLOATS: Final = frozenset({WireForm.FLOAT32, WireForm.FLOAT64})
BIG_END: Final = 16
"""Added to a wire form whose bigger end comes first."""

QUALITY_WORDS: Final[tuple[tuple[bytes, Quality], ...]] = (
    *((f'"{word}"'.encode(), Quality.GOOD) for word in ("good", "Good", "GOOD")),
    *((f'"{word}"'.encode(), Quality.UNCERTAIN) for word in ("uncertain", "Uncertain", "UNCERTAIN")),
    *((f'"{word}"'.encode(), Quality.BAD) for word in ("bad", "Bad", "BAD")),
    (b"true", Quality.GOOD),
    (b"false", Quality.BAD),
    (b"192", Quality.GOOD),
    (b"0", Quality.BAD),
)
"""What qualities are called unless the settings say otherwise, as JSON writes it."""


@dataclass(frozen=True, slots=True)
class Members:
    """Names of a reading's members; empty: there is none."""

    name: str = "name"
    value: str = "value"
    time: str = "time"
    quality: str = ""


@dataclass(frozen=True, slots=True)
class Form:
    """Of one topic: all of its tags have the same."""

    layout: Layout = Layout.PLAIN
    time: TimeForm = TimeForm.AUTO
    members: Members = Members()
    qualities: tuple[tuple[bytes, Quality], ...] = QUALITY_WORDS


PLAIN: Final = Form()


def quality_of(raw: bytes, form: Form) -> Quality:
    """What a quality, as JSON writes it, means: as the settings say, else by OPC's numbers, else uncertain."""
    for word, quality in form.qualities:
        if raw == word:
            return quality
    if raw.isdigit() and len(raw) <= 3 and int(raw) <= 255:
        number = int(raw)
        return Quality.GOOD if number >= Quality.GOOD else Quality.UNCERTAIN if number >= 64 else Quality.BAD
    return Quality.UNCERTAIN

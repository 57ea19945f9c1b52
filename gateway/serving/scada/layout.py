"""The layout of a unit's address space: six areas of equal blocks, so that an address is a multiplication.

    address  = area start + block number x pitch + offset of the field
    the third tag's quality on any unit:  5000 + 2 x 10 + 4 = 5024

Every unit has an address space of its own, with the gateway's block (heartbeat, SCADA's watchdog, uptime) at 0. Blocks
are given in the order of the configuration and kept in the lock file; a pitch leaves room for fields to come, which
then move nothing.

Values of several registers stand high word first, each word high byte first ("big-endian", ABCD). Holding registers
(function 3) and input registers (function 4) show the same image. The bits have the address of their block, counted in
the table of discrete inputs (2) and coils (1) alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from gateway.core.types import Kind


class Type(StrEnum):
    """What stands in a point's registers."""

    BOOL = "bool"
    UINT16 = "uint16"
    UINT32 = "uint32"
    INT64 = "int64"
    UINT64 = "uint64"
    FLOAT32 = "float32"
    STRING = "string"
    """The first eight bytes of a text, in UTF-8, zeros behind it."""
    TEXT = "text"
    """Up to forty bytes of it."""


REGISTERS: Final = {
    Type.BOOL: 1,
    Type.UINT16: 1,
    Type.UINT32: 2,
    Type.INT64: 4,
    Type.UINT64: 4,
    Type.FLOAT32: 2,
    Type.STRING: 4,
    Type.TEXT: 20,
}
"""Registers of a type; of a bool, bits."""

TYPE_OF_KIND: Final = {Kind.F64: Type.FLOAT32, Kind.I64: Type.INT64, Kind.U64: Type.UINT64, Kind.SYMBOL: Type.STRING}

_WIRE: Final = {
    Type.UINT16: ">u2",
    Type.UINT32: ">u4",
    Type.INT64: ">i8",
    Type.UINT64: ">u8",
    Type.FLOAT32: ">f4",
    Type.STRING: "S8",
    Type.TEXT: "S40",
}


class Area(StrEnum):
    GATEWAY = "gateway"
    LOOP = "loop"
    DEVICE = "device"
    TAG = "tag"
    WINDOW = "window"
    MULTIVARIATE = "multivariate"


class Unit(StrEnum):
    """How a field's engineering unit follows from its tag's."""

    NONE = ""
    SAME = "same"
    PER_SECOND = "per second"
    MS = "ms"
    S = "s"
    H = "h"


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a block. `offset` counts registers, or bits for a bool."""

    name: str
    offset: int
    type: Type
    unit: Unit = Unit.NONE


@dataclass(frozen=True, slots=True)
class Blocks:
    """An area: addresses `start` to `end` (exclusive) in blocks of `pitch`."""

    start: int
    end: int
    pitch: int
    fields: tuple[Field, ...]

    @property
    def capacity(self) -> int:
        return (self.end - self.start) // self.pitch

    def holds(self, address: int) -> bool:
        """Whether a block may begin at `address`."""
        return self.start <= address <= self.end - self.pitch and (address - self.start) % self.pitch == 0

    def dtype(self) -> np.dtype[np.void]:
        """A block as a NumPy record: assigning to a field encodes it."""
        fields = [field for field in self.fields if field.type is not Type.BOOL]
        return np.dtype(
            {
                "names": [f"{field.name}:{field.type}" for field in fields],
                "formats": [_WIRE[field.type] for field in fields],
                "offsets": [2 * field.offset for field in fields],
                "itemsize": 2 * self.pitch,
            }
        )


_ALARM_BITS: Final = (
    Field("alarm_any", 0, Type.BOOL),
    Field("alarm_low", 1, Type.BOOL),
    Field("alarm_high", 2, Type.BOOL),
    Field("alarm_score", 3, Type.BOOL),
    Field("bad", 4, Type.BOOL),
)

AREAS: Final[dict[Area, Blocks]] = {
    Area.GATEWAY: Blocks(
        0,
        10,
        10,
        (
            Field("heartbeat", 0, Type.UINT16),
            Field("watchdog", 1, Type.UINT16),
            Field("uptime_s", 2, Type.UINT32, Unit.S),
            Field("watchdog_age_ms", 4, Type.UINT32, Unit.MS),
        ),
    ),
    Area.LOOP: Blocks(
        100,
        1_000,
        10,
        (
            Field("setpoint", 0, Type.FLOAT32, Unit.SAME),
            Field("output", 2, Type.FLOAT32),
            Field("mode", 4, Type.UINT16),
            Field("quality", 5, Type.UINT16),
            Field("process_value", 6, Type.FLOAT32, Unit.SAME),
            Field("age_ms", 8, Type.UINT32, Unit.MS),
        ),
    ),
    Area.DEVICE: Blocks(
        1_000,
        5_000,
        10,
        (
            Field("quality", 0, Type.UINT16),
            Field("alarm", 1, Type.UINT16),
            Field("score", 2, Type.FLOAT32),
            Field("tags_good", 4, Type.UINT16),
            Field("tags", 5, Type.UINT16),
            Field("persistent", 6, Type.FLOAT32),
            Field("reasons", 8, Type.UINT16),
            *_ALARM_BITS,
            Field("maintenance", 5, Type.BOOL),
        ),
    ),
    Area.TAG: Blocks(
        5_000,
        30_000,
        10,
        (
            Field("value", 0, Type.FLOAT32, Unit.SAME),
            Field("value", 0, Type.INT64, Unit.SAME),
            Field("value", 0, Type.UINT64, Unit.SAME),
            Field("value", 0, Type.STRING),
            Field("quality", 4, Type.UINT16),
            Field("alarm", 5, Type.UINT16),
            Field("age_ms", 6, Type.UINT32, Unit.MS),
            Field("score", 8, Type.FLOAT32),
            *_ALARM_BITS,
        ),
    ),
    Area.WINDOW: Blocks(
        30_000,
        62_000,
        20,
        (
            Field("mean", 0, Type.FLOAT32, Unit.SAME),
            Field("sd", 2, Type.FLOAT32, Unit.SAME),
            Field("min", 4, Type.FLOAT32, Unit.SAME),
            Field("max", 6, Type.FLOAT32, Unit.SAME),
            Field("rate", 8, Type.FLOAT32, Unit.PER_SECOND),
            Field("ewma", 10, Type.FLOAT32, Unit.SAME),
            Field("count", 12, Type.UINT32),
            Field("quality", 14, Type.UINT16),
            Field("reasons", 15, Type.UINT16),
            Field("persistent", 16, Type.FLOAT32),
            Field("score_once_h", 18, Type.UINT16, Unit.H),
            Field("persistent_once_h", 19, Type.UINT16, Unit.H),
            Field("text", 0, Type.TEXT),
        ),
    ),
    Area.MULTIVARIATE: Blocks(
        62_000,
        65_520,
        10,
        (
            Field("score", 0, Type.FLOAT32),
            Field("score_once_h", 2, Type.UINT16, Unit.H),
            Field("quality", 3, Type.UINT16),
            Field("first_tag", 4, Type.UINT16),
            Field("first_percent", 5, Type.UINT16),
            Field("second_tag", 6, Type.UINT16),
            Field("second_percent", 7, Type.UINT16),
            Field("third_tag", 8, Type.UINT16),
            Field("third_percent", 9, Type.UINT16),
        ),
    ),
}
"""A tag's `value` is one of the four: the type follows its kind, and the place is the same for all. Its persistent
score, reasons and rates stand in its windows' blocks, for its own is full; a text has no windows, but one block in
their place that holds more of it. The bits of reasons are in `core/view.py`. A score that is not initialised yet is
NaN, a rate that is not known 65535. The tags of a multivariate block are numbered from 1 as the configuration names
them; 0 is none."""

WATCHDOG_REGISTER: Final = 1
"""Where SCADA counts, on every unit."""

LAYOUT_VERSION: Final = 1
"""Stands in the lock file. It changes only when an existing address would mean something else."""


def area_at(address: int) -> Area | None:
    """The area in which an address lies; None between the areas."""
    for area, blocks in AREAS.items():
        if blocks.start <= address < blocks.end:
            return area
    return None


def modicon(address: int, *, is_bit: bool) -> str:
    """The address as integrators write it: 40001 for holding register 0, 10001 for bit 0; six digits where five end."""
    table = 1 if is_bit else 4
    return f"{table}{address + 1:04d}" if address < 9_999 else f"{table}{address + 1:05d}"

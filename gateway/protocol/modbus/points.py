"""What the kernels know of a tag: its type, where it lies in a reply, and when a reading is news. No Numba here.

Commands that only plan must not pay for loading a compiler.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import numpy as np


class WireType(IntEnum):
    """What lies in the registers. The order is the decoder's: bool, signed, unsigned, floats, what is computed."""

    BOOL = 0
    INT16 = 1
    INT32 = 2
    INT64 = 3
    UINT16 = 4
    UINT32 = 5
    UINT64 = 6
    FLOAT32 = 7
    FLOAT64 = 8
    BCD16 = 9
    BCD32 = 10
    BCD64 = 11
    SIGNMAG16 = 12
    SIGNMAG32 = 13
    SIGNMAG64 = 14
    """Sign and magnitude: the top bit is the sign, the others the magnitude."""
    STRING = 15
    """Text, of as many registers as its point says (`gateway.protocol.modbus.texts`)."""


class Encoding(IntEnum):
    """How the characters of a text lie in its registers."""

    UTF_8 = 0
    ASCII = 1
    LATIN_1 = 2
    UTF_16 = 3
    """One 16 bit unit a register."""


class Padding(IntEnum):
    """What stands behind a text that is shorter than its registers."""

    ANY = 0
    """A NUL and whatever follows, or spaces."""
    NUL = 1
    SPACE = 2
    NONE = 3


TEXT_REGISTERS_MAX: Final = 125
"""What one read can carry."""
SCRATCH_BYTES: Final = 512
"""Room for one text in UTF-8: at most three bytes a character, or two for each byte of Latin-1."""


WORDS: Final[dict[WireType, int]] = {
    WireType.BOOL: 1,
    WireType.INT16: 1,
    WireType.INT32: 2,
    WireType.INT64: 4,
    WireType.UINT16: 1,
    WireType.UINT32: 2,
    WireType.UINT64: 4,
    WireType.FLOAT32: 2,
    WireType.FLOAT64: 4,
    WireType.BCD16: 1,
    WireType.BCD32: 2,
    WireType.BCD64: 4,
    WireType.SIGNMAG16: 1,
    WireType.SIGNMAG32: 2,
    WireType.SIGNMAG64: 4,
}

ABSENT_MAX: Final = 4
"""Values that mean "not available", of one tag."""

POINT = np.dtype(
    [
        ("row", "<i4"),
        ("at", "<i4"),
        ("type", "i1"),
        ("kind", "i1"),
        ("words", "i1"),
        ("is_bit", "i1"),
        ("big_words", "i1"),
        ("big_bytes", "i1"),
        ("first_bit", "i1"),
        ("bits", "i1"),
        ("absents", "i1"),
        ("is_clamped", "i1"),
        ("encoding", "i1"),
        ("padding", "i1"),
        ("is_plain", "i1"),
        ("scale", "<f8"),
        ("offset", "<f8"),
        ("low", "<f8"),
        ("high", "<f8"),
        ("absent", "<u8", (ABSENT_MAX,)),
    ],
    align=True,
)
"""Where in the reply a tag lies: `at` counts registers from the block's first, or bits where `is_bit`.

`bits` is the width of a bit field that begins at `first_bit` (0 is the lowest), or 0 for the whole value. The first
`absents` of `absent` are the patterns, of the field where there is one, that mean "not available". `is_plain` lets the
decoder take a short way: one or two registers that are the number, into a float64 cell.
"""

PLAIN: Final = frozenset({WireType.INT16, WireType.UINT16, WireType.INT32, WireType.UINT32, WireType.FLOAT32})
"""Types that may be plain."""

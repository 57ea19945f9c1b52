"""Decimals as JSON writes them, exactly and without a limit to their exponent, for times that count seconds or less.

`decimal.Decimal` raises for an exponent beyond 18 digits, and `int` for a text beyond 4,300: neither may happen for
what somebody puts into a payload.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_PARTS: Final = re.compile(rb"(-?)(0|[1-9][0-9]*)(?:\.([0-9]+))?(?:[eE]([+-]?)0*([0-9]*))?")
_EXPONENT_DIGITS_MAX: Final = 12
"""More mean an exponent beyond any number of digits that a message has room for: as good as endless."""


class Decimal(NamedTuple):
    """Without leading zeros; `digits` is empty for zero. Its value is digits times ten to the power of `exponent`."""

    is_negative: bool
    digits: str
    exponent: int

    @property
    def before_point(self) -> int:
        """Digits in front of the decimal point; of 0.01 that is -1, and of no use for zero."""
        return len(self.digits) + self.exponent

    def shifted(self, places: int) -> int:
        """Its absolute value times ten to the power of `places`, cut to a whole number.

        Whoever asks has seen to it that `before_point` plus `places` is small.
        """
        shift = self.exponent + places
        if shift < 0:
            return int(self.digits[: max(0, len(self.digits) + shift)] or "0")
        return int(self.digits or "0") * 10**shift


def read_decimal(raw: bytes) -> Decimal:
    """Of a JSON number."""
    match = _PARTS.fullmatch(raw)
    assert match is not None, "whoever calls has seen that it is a number"
    minus, whole, fraction, sign, power = (part or b"" for part in match.groups())
    given = int(power[: _EXPONENT_DIGITS_MAX + 1] or b"0")
    digits = (whole + fraction).decode("ascii").lstrip("0")
    return Decimal(bool(minus), digits, (-given if sign == b"-" else given) - len(fraction))

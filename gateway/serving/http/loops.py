"""What of a loop is words, beside its numbers."""

from __future__ import annotations

from typing import NamedTuple


class LoopDetail(NamedTuple):
    """What of a loop is words: misses in a row, and why it missed, failed safe and was not taken last; who holds it."""

    misses_in_row: int = 0
    last_miss: str = ""
    last_failsafe: str = ""
    output_fault: str = ""
    commander: str = ""

"""Symbols: texts as numbers, because a tag's cell has eight bytes.

One table for the life of the process: a text gets the next number when it first comes and keeps it, so a number means
the same in every window, queue and record draft, and also after a reload. The numbers are of this run alone: what
leaves the gateway (records, registers, page) carries the text. Numbers count from 1 without a gap, so what is new
since the last look is a range: `texts_since` is what a journal writes, `restore` what a replay begins with.

Devices that put a counter or the time into a text would fill any memory: beyond `SYMBOLS_MAX` texts, or their bytes,
a new one gets no number, is counted, and its sample is bad. Texts that are known already go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeAlias

import numpy as np

from gateway.core.kernels.symbols import CAPACITY, COUNT, CUT, HEAD, REFUSED, SLOTS, USED, intern, symbol_words
from gateway.core.limits import SYMBOL_BYTES_MAX, SYMBOLS_BYTES_MAX, SYMBOLS_MAX
from gateway.core.readings import Reading

NO_SYMBOL: Final = 0

TextOf: TypeAlias = Callable[[int], str | None]
"""From a symbol's number to its text (`Symbols.text_of`)."""

Intern: TypeAlias = Callable[[str], int]
"""From a text to its symbol's number (`Symbols.intern`)."""

METRICS = (
    ("fieldgate_symbols", "gauge", "Different texts that tags had since the start."),
    ("fieldgate_symbols_bytes", "gauge", "Bytes of the texts of fieldgate_symbols."),
    ("fieldgate_symbols_refused_total", "counter", "Samples whose text was new when no more texts could be kept."),
    ("fieldgate_symbols_cut_total", "counter", "Texts that were longer than is kept of one."),
)


def no_texts(number: int) -> None:
    """A `TextOf` of a plant without texts."""


def no_symbols(text: str) -> int:
    """An `Intern` where there are no texts."""
    return NO_SYMBOL


class SymbolsDiffer(Exception):
    """A replay began with other texts than were recorded."""


class Symbols:
    """The table. `words` is what kernels take (`gateway.core.kernels.symbols.intern`); every method from any thread."""

    def __init__(self, capacity: int = SYMBOLS_MAX, bytes_max: int = SYMBOLS_BYTES_MAX) -> None:
        self.words = symbol_words(capacity, bytes_max)
        self._ends = HEAD + int(self.words[SLOTS])
        self._text = self.words.view(np.uint8)[8 * (self._ends + int(self.words[CAPACITY]) + 1) :]
        self._known: dict[int, str] = {}

    def __len__(self) -> int:
        return int(self.words[COUNT])

    def intern(self, text: str) -> int:
        """The text's number, or NO_SYMBOL when it is new and there is no room."""
        octets = text.encode("utf-8", "replace")
        if len(octets) > SYMBOL_BYTES_MAX:
            self.words[CUT] += 1
            octets = octets[:SYMBOL_BYTES_MAX].decode("utf-8", "ignore").encode()
        return int(intern(self.words, np.frombuffer(bytearray(octets), np.uint8), 0, len(octets)))

    def text_of(self, number: int) -> str | None:
        """The text of a number; None for NO_SYMBOL and for what was never given."""
        known = self._known.get(number)
        if known is not None or not 0 < number <= len(self):
            return known
        first, end = int(self.words[self._ends + number - 1]), int(self.words[self._ends + number])
        return self._known.setdefault(number, self._text[first:end].tobytes().decode("utf-8", "replace"))

    def texts_since(self, count: int) -> tuple[str, ...]:
        """The texts that got a number when there were `count` already, in order."""
        return tuple(self.text_of(number) or "" for number in range(count + 1, len(self) + 1))

    def restore(self, texts: Iterable[str]) -> None:
        """Give these texts the numbers from 1 on. Raises SymbolsDiffer when others were here before."""
        for number, text in enumerate(texts, 1):
            found = self.intern(text)
            if found != number:
                raise SymbolsDiffer(f"the text {text!r} has number {found} instead of {number}: restore before use")

    def readings(self) -> Iterator[Reading]:
        yield Reading("fieldgate_symbols", len(self))
        yield Reading("fieldgate_symbols_bytes", int(self.words[USED]))
        yield Reading("fieldgate_symbols_refused_total", int(self.words[REFUSED]))
        yield Reading("fieldgate_symbols_cut_total", int(self.words[CUT]))

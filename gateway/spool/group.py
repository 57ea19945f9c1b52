"""The group of drafts that one transaction stores: sieved, encoded, and kept until it is stored.

What was left out belongs to the group as much as what is in it, and so do the ordinals of both: all of it is written
in one transaction, or tried again together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gateway.core.record import RecordDraft
from gateway.core.segments import Loss
from gateway.spool.pressing import Pressing
from gateway.spool.records import Encoded, compressor
from gateway.spool.sieve import LeftOut, NamesOf, Sieve, own_names

Encode = Callable[[RecordDraft], bytes]


class Group:
    def __init__(self, encode: Encode, names_of: NamesOf = own_names) -> None:
        self.encoded: list[Encoded] = []
        self.ordinals: dict[str, int] = {}
        """By stream, of the last draft that was taken in, be it stored or not."""
        self._encode = encode
        self._compressor = compressor()
        self._sieve = Sieve(names_of)

    def __len__(self) -> int:
        return len(self.encoded)

    def take_in(self, drafts: Iterable[RecordDraft], dropped: LeftOut, pressing: Pressing, now_ns: int) -> None:
        """`dropped` are those that the queue had no room for: of each stream older than what is in `drafts`."""
        self._sieve.left_out.add(dropped)
        self.ordinals |= dropped.ordinals
        for draft in drafts:
            if draft.ordinal:
                self.ordinals[draft.stream.value] = draft.ordinal
            for passed in self._sieve.passed(draft, speed=pressing.speed, space=pressing.space, now_ns=now_ns):
                body = self._compressor.compress(self._encode(passed))
                place = passed.first_ns, passed.last_ns, len(passed)
                self.encoded.append(Encoded(passed.stream, *place, body, passed.ordinal))

    def take_losses(self) -> list[Loss]:
        return self._sieve.left_out.take()

    def give_back(self, losses: Iterable[Loss]) -> None:
        self._sieve.left_out.give_back(list(losses))

    def stored(self) -> None:
        """It is on the disk: begin anew."""
        self.encoded = []
        self.ordinals = {}

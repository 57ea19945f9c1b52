"""The queue of drafts between the engine and the spool thread. The owner's lock guards it.

Overflow rule: the oldest draft of the lowest priority present is dropped and noted as a loss, one line a stream. The
spool thread takes the losses along and writes them into the ledger with its next commit.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from gateway.core.record import PRIORITIES, RecordDraft, Stream
from gateway.spool.sieve import LeftOut, NamesOf, own_names

BY_URGENCY: tuple[Stream, ...] = tuple(sorted(Stream, key=PRIORITIES.__getitem__))
QUEUE_FULL: Final = "queue full"


class DraftQueue:
    def __init__(self, capacity: int, names_of: NamesOf = own_names) -> None:
        assert capacity > 0
        self.capacity = capacity
        self._names_of = names_of
        self._left_out = LeftOut(names_of)
        self._drafts: dict[Stream, deque[RecordDraft]] = {stream: deque() for stream in BY_URGENCY}

    def __len__(self) -> int:
        return sum(len(drafts) for drafts in self._drafts.values())

    def append(self, draft: RecordDraft, now_ns: int) -> None:
        self._drafts[draft.stream].append(draft)
        if len(self) > self.capacity:
            stream = next(stream for stream in reversed(BY_URGENCY) if self._drafts[stream])
            self._left_out.whole(self._drafts[stream].popleft(), QUEUE_FULL, now_ns)

    def take(self, most: int) -> list[RecordDraft]:
        """Urgent streams first, each in its order."""
        taken: list[RecordDraft] = []
        for stream in BY_URGENCY:
            drafts = self._drafts[stream]
            while drafts and len(taken) < most:
                taken.append(drafts.popleft())
        return taken

    def take_left_out(self) -> LeftOut:
        """What was dropped since the last call."""
        taken, self._left_out = self._left_out, LeftOut(self._names_of)
        return taken

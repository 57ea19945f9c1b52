"""The queue of drafts between the engine and the spool thread. The owner's lock guards it.

Overflow rule: the oldest draft of the lowest priority present is dropped and noted as a loss, one line a stream. The
spool thread takes the losses along and writes them into the ledger with its next commit.
"""

from __future__ import annotations

from collections import deque

import msgspec

from gateway.core.record import PRIORITIES, RecordDraft, Stream
from gateway.core.segments import Loss

BY_URGENCY: tuple[Stream, ...] = tuple(sorted(Stream, key=PRIORITIES.__getitem__))


class DraftQueue:
    def __init__(self, capacity: int) -> None:
        assert capacity > 0
        self.capacity = capacity
        self._drafts: dict[Stream, deque[RecordDraft]] = {stream: deque() for stream in BY_URGENCY}
        self._losses: dict[str, Loss] = {}

    def __len__(self) -> int:
        return sum(len(drafts) for drafts in self._drafts.values())

    def append(self, draft: RecordDraft, now_ns: int) -> None:
        self._drafts[draft.stream].append(draft)
        if len(self) > self.capacity:
            self._drop_one(now_ns)

    def take(self, most: int) -> list[RecordDraft]:
        """Urgent streams first, each in its order."""
        taken: list[RecordDraft] = []
        for stream in BY_URGENCY:
            drafts = self._drafts[stream]
            while drafts and len(taken) < most:
                taken.append(drafts.popleft())
        return taken

    def take_losses(self) -> list[Loss]:
        losses = list(self._losses.values())
        self._losses.clear()
        return losses

    def give_back_losses(self, losses: list[Loss]) -> None:
        """They could not be written down: keep them for the next commit."""
        for loss in losses:
            self._note(loss)

    def _drop_one(self, now_ns: int) -> None:
        stream = next(stream for stream in reversed(BY_URGENCY) if self._drafts[stream])
        draft = self._drafts[stream].popleft()
        self._note(
            Loss(
                stream=stream.value,
                reason="queue full",
                records=1,
                samples=len(draft),
                first_ns=draft.first_ns,
                last_ns=draft.last_ns,
                dropped_ns=now_ns,
            )
        )

    def _note(self, loss: Loss) -> None:
        before = self._losses.get(loss.stream, loss)
        if before is not loss:
            loss = msgspec.structs.replace(
                loss,
                records=before.records + loss.records,
                samples=before.samples + loss.samples,
                first_ns=min(before.first_ns, loss.first_ns),
                last_ns=max(before.last_ns, loss.last_ns),
                dropped_ns=max(before.dropped_ns, loss.dropped_ns),
            )
        self._losses[loss.stream] = loss

"""What of the drafts is recorded at the present step of the pressure ladder, and what is written down instead.

Used on the spool's thread, which takes drafts in their order: a draft that is shed is as done as one that is stored,
and its ordinal is noted with the losses in one transaction, so that no replay makes it a second time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, TypeAlias

import numpy as np

from gateway.core.kernels.thin import thin
from gateway.core.losses import Counted, Devices, Losses
from gateway.core.pressure import COALESCED_NS, SHED_FROM, Step
from gateway.core.record import RecordDraft, Stream
from gateway.core.segments import Loss
from gateway.core.types import SAMPLE, Int32s, Int64s, Samples

NamesOf: TypeAlias = Callable[[RecordDraft], Sequence[str]]
"""The tags' names by row, of a draft."""

COALESCED: Final = "coalesced under pressure"
SHED: Final = "shed under pressure"


def own_names(draft: RecordDraft) -> Sequence[str]:
    return draft.names


class LeftOut:
    """Losses of drafts, by stream and reason, with the tags that were in them."""

    def __init__(self, names_of: NamesOf) -> None:
        self._names_of = names_of
        self._losses = Losses()
        self._counted: dict[tuple[str, str], list[Counted]] = {}
        self._devices = Devices()
        self.ordinals: dict[str, int] = {}
        """By stream, of the last draft that was left out whole: it is done with as much as one that is stored."""

    def __len__(self) -> int:
        return len(self._losses)

    def whole(self, draft: RecordDraft, reason: str, now_ns: int) -> None:
        """All of a draft."""
        rows = draft.rows
        if draft.ordinal:
            self.ordinals[draft.stream.value] = draft.ordinal
        self._note(draft, reason, now_ns, len(draft), records=1)
        if not isinstance(rows, tuple):
            self._count(draft, reason, rows["row"])

    def part(self, draft: RecordDraft, reason: str, now_ns: int, rows: Int32s) -> None:
        """Samples of these rows, of a draft that goes on without them."""
        self._note(draft, reason, now_ns, len(rows), records=0)
        self._count(draft, reason, rows)

    def add(self, other: LeftOut) -> None:
        """What another one has, which nobody fills any more."""
        for loss in other._losses.take():
            self._losses.note(loss)
        for key, several in other._counted.items():
            self._counted.setdefault(key, []).extend(several)

    def take(self) -> list[Loss]:
        for key, several in self._counted.items():
            for counted in several:
                self._losses.note(_tagged(*key, counted.by_name(self._devices)))
        self._counted.clear()
        return self._losses.take()

    def give_back(self, losses: Sequence[Loss]) -> None:
        """They could not be written down: keep them for the next time."""
        for loss in losses:
            self._losses.note(loss)

    def _note(self, draft: RecordDraft, reason: str, now_ns: int, samples: int, *, records: int) -> None:
        self._losses.note(
            Loss(
                stream=draft.stream.value,
                reason=reason,
                records=records,
                samples=samples,
                first_ns=draft.first_ns,
                last_ns=draft.last_ns,
                dropped_ns=now_ns,
            )
        )

    def _count(self, draft: RecordDraft, reason: str, rows: Int32s) -> None:
        names = self._names_of(draft)
        several = self._counted.setdefault((draft.stream.value, reason), [])
        if not several or several[-1].names is not names:
            several.append(Counted(names))
        several[-1].add(rows)


def _tagged(stream: str, reason: str, tags: dict[str, int]) -> Loss:
    """Nothing but tags, for a line whose figures are noted already."""
    return Loss(stream=stream, reason=reason, records=0, samples=0, first_ns=2**62, last_ns=0, dropped_ns=0, tags=tags)


class Sieve:
    def __init__(self, names_of: NamesOf = own_names) -> None:
        self.left_out = LeftOut(names_of)
        self._last_ns: Int64s = np.zeros(0, np.int64)
        self._last_quality: Int32s = np.zeros(0, np.int32)

    def passed(self, draft: RecordDraft, *, speed: Step, space: Step, now_ns: int) -> tuple[RecordDraft, ...]:
        """The draft, what is left of it, or nothing."""
        if draft.stream in SHED_FROM and speed >= SHED_FROM[draft.stream]:
            self.left_out.whole(draft, SHED, now_ns)
            return ()
        if draft.stream is not Stream.SAMPLES or max(speed, space) < Step.COALESCE:
            return (draft,)
        rows = draft.rows
        assert not isinstance(rows, tuple)
        self._make_room(int(rows["row"].max(initial=-1)) + 1)
        kept: Samples = np.empty(len(rows), SAMPLE)
        left: Int32s = np.empty(len(rows), np.int32)
        used = thin(rows, COALESCED_NS, self._last_ns, self._last_quality, kept, left)
        if used == len(rows):
            return (draft,)
        if used == 0:
            self.left_out.whole(draft, COALESCED, now_ns)
            return ()
        self.left_out.part(draft, COALESCED, now_ns, left[: len(rows) - used])
        return (replace(draft, rows=kept[:used].copy()),)

    def _make_room(self, rows: int) -> None:
        more = rows - len(self._last_ns)
        if more > 0:
            self._last_ns = np.concatenate((self._last_ns, np.zeros(more, np.int64)))
            self._last_quality = np.concatenate((self._last_quality, np.full(more, -1, np.int32)))

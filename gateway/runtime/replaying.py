"""Replay: cycles of a journal, or rows of a table, through an engine once more.

With the journal's own plant, all of it from the engine's first cycle on, the records are byte for byte those that were
put out then. With another configuration the samples are given to its tags of the same names; what has no tag there is
counted. A journal whose beginning was deleted is replayed from a fresh engine: records are the same in form, and
windows and scores warm up first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from gateway.core.adoption import adopt
from gateway.core.cycle import Cycle, Finished, Lent, Named, run_cycle
from gateway.core.encode import Encoder, envelope
from gateway.core.engine import Engine
from gateway.core.record import Identity, RecordDraft
from gateway.core.spec import EngineSpec, decode_spec
from gateway.core.symbols import Symbols
from gateway.core.types import NS_PER_S, Int64s, Samples
from gateway.spool.journal.format import Head

SEGMENT: Final = 1
"""Of every record of a replay: sequences count from 1 without a gap."""


@dataclass(slots=True)
class Summary:
    """What a replay did. `digest` is over all records in their order: equal digests are equal bytes."""

    cycles: int = 0
    samples: int = 0
    samples_without_tag: int = 0
    holes: int = 0
    begins_fresh: bool = False
    configurations: int = 0
    first_ns: int = 0
    last_ns: int = 0
    records: dict[str, int] = field(default_factory=dict)
    digest: str = ""


class Player:
    """`spec` is the plant to replay for, None for the journal's own; `write` takes records, each a line of JSON."""

    def __init__(
        self,
        *,
        gateway: str,
        spec: EngineSpec | None,
        write: Callable[[bytes], None],
        pause: Callable[[float], None] | None = None,
        speed: float = 1.0,
        symbols: Symbols | None = None,
    ) -> None:
        """`pause` sleeps so many seconds, None plays as fast as it goes; `speed` is engine time over real time."""
        self.summary = Summary()
        self._gateway = gateway
        self._wanted = spec
        self._write = write
        self._pause = pause
        self._speed = speed
        self._symbols = symbols if symbols is not None else Symbols()
        self._digest = hashlib.sha256()
        self._engine: Engine | None = None
        self._encoder: Encoder | None = None
        self._head: Head | None = None
        self._places: Int64s = np.zeros(0, np.int64)
        self._last_number = 0

    def play(self, cycles: Iterable[tuple[Head | None, Cycle]]) -> Summary:
        for head, cycle in cycles:
            if self._engine is None or head is not self._head:
                self._head = head
                self._change(head)
            self._count(cycle)
            self._step(cycle if self._wanted is None or head is None else self._mapped(cycle))
        if self._engine is not None and self._wanted is not None:
            # A table, or a journal for another plant: nothing says where its records end.
            self._step(Cycle(self._last_number + 1, self.summary.last_ns, influences=(Finished(),)))
        self.summary.digest = self._digest.hexdigest()
        return self.summary

    def _change(self, head: Head | None) -> None:
        """The next cycles are of the file with this head; None: of a table, whose rows are those of `spec`."""
        old, self._engine = self._engine, self._engine
        if head is None or self._wanted is not None:
            assert self._wanted is not None, "a table has no plant of its own"
            if head is not None:
                self._places = places_of(decode_spec(head.spec), self._wanted)
            if old is None:
                self._use(self._wanted, self._wanted.build())
        else:
            spec = decode_spec(head.spec)
            engine = spec.build()
            if old is not None and not head.is_fresh:
                if self._spec.digest == spec.digest:
                    engine = old
                else:
                    adopt(engine, old)
            self._use(spec, engine)
        if head is not None and old is None:
            self.summary.begins_fresh = head.is_fresh
            self._symbols.restore(head.texts)

    def _use(self, spec: EngineSpec, engine: Engine) -> None:
        if engine is not self._engine:
            self.summary.configurations += 1
        self._spec, self._engine = spec, engine
        self._encoder = Encoder(spec.model, self._symbols.text_of)

    def _count(self, cycle: Cycle) -> None:
        summary = self.summary
        if self._last_number and cycle.number != self._last_number + 1:
            summary.holes += 1
        if self._pause is not None and summary.cycles:
            self._pause((cycle.now_ns - summary.last_ns) / NS_PER_S / self._speed)
        self._last_number = cycle.number
        summary.first_ns = summary.first_ns or cycle.now_ns
        summary.last_ns = cycle.now_ns
        summary.cycles += 1
        summary.samples += len(cycle.samples)

    def _mapped(self, cycle: Cycle) -> Cycle:
        """For another plant: rows by name. What was lent to tags that came by themselves has no row there."""
        rows = cycle.samples["row"]
        is_known = (rows >= 0) & (rows < len(self._places))
        places = np.full(len(rows), -1, np.int64)
        places[is_known] = self._places[rows[is_known]]
        samples: Samples = cycle.samples[places >= 0]
        samples["row"] = places[places >= 0]
        self.summary.samples_without_tag += len(rows) - len(samples)
        influences = tuple(each for each in cycle.influences if not isinstance(each, Lent | Finished))
        return replace(cycle, samples=samples, influences=influences)

    def _step(self, cycle: Cycle) -> None:
        assert self._engine is not None
        for influence in cycle.influences:
            if isinstance(influence, Named):
                for text in influence.texts:
                    self._symbols.intern(text)
        for draft in run_cycle(self._engine, cycle).drafts:
            self._tell(draft)

    def _tell(self, draft: RecordDraft) -> None:
        assert self._encoder is not None
        identity = Identity(self._gateway, draft.stream.value, SEGMENT, draft.ordinal)
        line = envelope(identity, self._encoder(draft))
        self._digest.update(line)
        self._write(line)
        self.summary.records[draft.stream.value] = self.summary.records.get(draft.stream.value, 0) + 1


def places_of(old: EngineSpec, new: EngineSpec) -> Int64s:
    """By row of `old`, the row of the tag of the same name and kind in `new`; -1 where there is none."""
    rows = new.model.row_of
    found = np.full(len(old.model.tags), -1, np.int64)
    for row, tag in enumerate(old.model.tags):
        place = rows.get(tag.name, -1)
        if place >= 0 and new.model.tags[place].kind is tag.kind:
            found[row] = place
    return found

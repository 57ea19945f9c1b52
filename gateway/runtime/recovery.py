"""Going on after a stop or a crash: the newest checkpoint, and what the journal says of the time since.

The engine is built of the spec that the checkpoint names, its images are installed as the replay passes their cycles,
and everything behind the checkpoint is done again. Drafts that come of it are the same as before: those whose ordinal
is stored already are left out, the others go to the spool. Tags that left are parked again, for the parking may not
have come to it. Then the engine is where it was, its last durable cycle done.

That is exact when the same code read every cycle since the oldest image, with all samples. Otherwise (a hole, a damaged
block, tags left out of the journal, another version, no journal) the engine's memory is as good as can be had, what
the replay puts out is thrown away, and records begin new segments. Whatever was wrong is told. From there on samples of
durable tags are not replayed, and their lanes' positions stay: the intake has them, and brings them again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np

from gateway.core.adoption import adopt
from gateway.core.cycle import Cycle, Named, run_cycle
from gateway.core.engine import Engine, StepResult
from gateway.core.events import Severity
from gateway.core.kernels.shuffle import keep_by_row, keep_rows
from gateway.core.lending import Parked
from gateway.core.record import RecordDraft
from gateway.core.snapshot import COMMON, Shares
from gateway.core.spec import EngineSpec, decode_spec
from gateway.core.symbols import Symbols
from gateway.core.types import Samples
from gateway.spool.ahead import ahead, ahead_of
from gateway.spool.checkpoints import CheckpointDamaged, CheckpointReader, Head, Saved
from gateway.spool.journal.files import Reading, cut_torn, first_of, head_of, paths
from gateway.spool.journal.format import BlockDamaged
from gateway.spool.journal.format import Head as JournalHead

REBUILD_BYTES_MAX: Final = 64 * 1024 * 1024
"""How much of the journal is read to rebuild what no checkpoint has."""

CYCLES_AHEAD: Final = 32
"""Threads make cycles and images ready while the engine does those before."""
IMAGES_AHEAD: Final = 32
SMALL: Final = 64
"""Of so many rows a cycle has a sample of less than one: the fold gains less by the order than that costs."""

Put: TypeAlias = Callable[[RecordDraft], None]
Park: TypeAlias = Callable[[Parked], None]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was met, for the log and the page."""

    severity: Severity
    kind: str
    message: str


@dataclass(slots=True)
class Recovered:
    """`engine` is None when there was nothing to go on from. `epoch` is that of the checkpoint used, else 0."""

    engine: Engine | None = None
    spec: EngineSpec | None = None
    epoch: int = 0
    number: int = 0
    now_ns: int = 0
    positions: dict[str, int] = field(default_factory=dict)
    is_exact: bool = True
    why_not: str = ""
    cycles: int = 0
    samples: int = 0
    made: int = 0
    findings: list[Finding] = field(default_factory=list)

    def doubt(self, why: str) -> None:
        """Not exact, for the first reason that is found."""
        if self.is_exact:
            self.is_exact, self.why_not = False, why


class Installing:
    """Which samples of the cycles before a checkpoint the engine is to see: those of rows whose image was taken before,
    put in the order of the rows, in which the fold is quicker. Each row's own keep their order, and what the order of
    the rows could change is in the image that comes last. `due` are images with the cycles behind which they were
    taken, in their order."""

    def __init__(self, shares: Shares, due: Sequence[tuple[int, int]], bad: Mapping[int, str]) -> None:
        self._shares = shares
        self._due = deque(due)
        self._until = due[-1][0]
        self._is_installed = np.zeros(shares.rows, np.uint8)
        self._places = np.zeros(shares.rows, np.int64)
        for share in bad:
            self._mark(share)

    def _mark(self, share: int) -> None:
        if share != COMMON:
            self._is_installed[slice(*self._shares.range_of(share))] = 1

    def left(self, cycle: Cycle) -> Cycle:
        """The cycle with what is left of its samples; cycles come in their order."""
        if cycle.number > self._until:
            return cycle
        while self._due[0][0] < cycle.number:
            self._mark(self._due.popleft()[1])
        kept = np.empty_like(cycle.samples)
        is_small = len(kept) < self._shares.rows // SMALL
        count = -1 if is_small else keep_by_row(cycle.samples, self._is_installed, self._places, kept)
        if count < 0:
            count = keep_rows(cycle.samples, self._is_installed, kept)
        return replace(cycle, samples=kept[:count])


class Recovery:
    """One attempt to go on. `engine` is fresh and of the present `spec`: it is used where it fits. `use` is told whose
    drafts come next, `put` takes those that were not stored everywhere, `park` what left with a cycle. `symbols` must
    be empty. `stored` has by stream the last ordinal that all spools have, and that any of them has; `durable` are the
    names of the tags whose samples an intake has."""

    def __init__(
        self,
        *,
        database: Path,
        folder: Path | None,
        code: str,
        spec: EngineSpec,
        engine: Engine,
        symbols: Symbols,
        use: Callable[[EngineSpec], None],
        put: Put,
        park: Park,
        stored: tuple[Mapping[str, int], Mapping[str, int]],
        durable: frozenset[str] = frozenset(),
    ) -> None:
        self._database = database
        self._folder = folder if folder is not None and folder.is_dir() else None
        self._code = code
        self._present = spec
        self._fresh: Engine | None = engine
        self._spec = spec
        self._use = use
        self._symbols = symbols
        self._put = put
        self._park = park
        self._stored_by_all, self._stored_by_some = stored
        self._durable = durable

    def run(self) -> Recovered:
        with closing(CheckpointReader(self._database)) as reader:
            try:
                return self._run(reader, {})
            except CheckpointDamaged:
                # Met before anything was put out: begin anew, knowing all that is damaged.
                return self._run(reader, None)

    def _run(self, reader: CheckpointReader, bad: dict[int, str] | None) -> Recovered:
        """`bad` are the shares that are damaged, None when they are to be looked for."""
        saved = reader.saved()
        found = Recovered()
        if saved.damage:
            self._tell_damage(found, saved.damage)
        if saved.head is not None:
            engine = self._build(saved.spec)
            shares = Shares(engine)
            if shares.layout != saved.head.layout:
                message = "the checkpoint was written by another version and cannot be used; windows start empty"
                found.findings.append(Finding(Severity.WARNING, "checkpoint.unusable", message))
            else:
                bad = self._damaged_shares(reader, saved.head, shares) if bad is None else bad
                return self._from_checkpoint(reader, saved, saved.head, engine, shares, found, bad)
        return self._from_journal(saved, found)

    def _build(self, encoded: bytes) -> Engine:
        self._spec = self._present if encoded == self._present.encoded else decode_spec(encoded)
        self._use(self._spec)
        if self._spec is self._present and self._fresh is not None:
            engine, self._fresh = self._fresh, None
            return engine
        return self._spec.build()

    def _from_checkpoint(
        self,
        reader: CheckpointReader,
        saved: Saved,
        head: Head,
        engine: Engine,
        shares: Shares,
        found: Recovered,
        bad: dict[int, str],
    ) -> Recovered:
        for share, why in bad.items():
            start, stop = shares.range_of(share) if share != COMMON else (0, 0)
            what = f"{why}; {stop - start} tags" if share != COMMON else f"{why}; alarms"
            self._tell_damage(found, f"{what} are rebuilt from the journal, as far as it goes")
        of_shares = ((number, share) for share, number in saved.numbers.items())
        due = deque(sorted(one for one in of_shares if one[1] not in bad and one[1] != COMMON))
        due.append((head.number, COMMON))
        after = due[0][0]
        if bad:
            found.doubt("a part of the checkpoint is damaged")
            after = min(after, self._rebuild_after())
        found.epoch, found.number = head.epoch, head.number
        found.positions = dict(head.positions)
        images = ahead_of(
            lambda share: reader.image(head.epoch, share, list(shares.blocks_of(share)), shares.rings_of(share)),
            [share for _, share in due if share not in bad],
            IMAGES_AHEAD,
        )
        self._symbols.restore(head.texts)
        if COMMON not in bad:
            # Also before the replay: intervals are aligned by the wall clock of then, and must not be aligned anew.
            shares.install(reader.image(head.epoch, COMMON, list(shares.blocks_of(COMMON))))
        installing = Installing(shares, tuple(due), bad)
        engine.is_catching_up = COMMON not in bad

        def install(before: int) -> None:
            while due and due[0][0] < before:
                _, share = due.popleft()
                if share not in bad:
                    shares.install(next(images), has_rings=shares.rings_of(share) is not None)
                if share == COMMON:
                    engine.restore(head.rest)
                    engine.is_catching_up = False

        try:
            return self._replay(engine, found, after, install=install, prepare=installing.left, until=head.number)
        finally:
            # Also when damage is met: this engine may yet take over what another one found.
            engine.is_catching_up = False

    def _from_journal(self, saved: Saved, found: Recovered) -> Recovered:
        """No checkpoint: from where an engine was fresh, or as far back as is read at all."""
        if self._folder is None:
            return found
        after, is_fresh = self._fresh_after()
        files = paths(self._folder)
        if not files:
            return found
        if not is_fresh:
            found.doubt("there is no checkpoint")
        try:
            head = head_of(next(path for path in reversed(files) if first_of(path) <= after + 1))
        except (StopIteration, BlockDamaged):
            return found
        engine = self._build(head.spec)
        self._symbols.restore(head.texts)
        self._replay(engine, found, after, install=lambda before: None, prepare=lambda cycle: cycle, until=0)
        if is_fresh and not found.cycles and found.is_exact:
            # It had begun, and no cycle of it reached the disk: the next one is fresh again, and says so.
            found.engine = None
        return found

    def _replay(
        self,
        engine: Engine,
        found: Recovered,
        after: int,
        *,
        install: Callable[[int], None],
        prepare: Callable[[Cycle], Cycle],
        until: int,
    ) -> Recovered:
        """The cycles behind `after`; up to `until` images are still being installed and nothing is put out. `prepare`
        runs ahead, in a thread of its own."""
        reading = Reading(self._folder, after) if self._folder is not None else None
        read = reading.cycles() if reading is not None else iter(())
        cycles = ((head, prepare(cycle), len(cycle.samples)) for head, cycle in read)
        expected = after + 1
        # Without a checkpoint and from the middle of it, the journal alone knows what went through the engine.
        is_all_there_is = until == 0 and not found.is_exact
        present: JournalHead | None = None
        for head, cycle, samples in ahead(cycles, CYCLES_AHEAD):
            if cycle.number != expected:
                found.doubt(f"the journal has a hole before cycle {cycle.number}")
            expected = cycle.number + 1
            install(cycle.number)
            if head is not present:
                # Once a file: a large plant's spec is some megabytes.
                present = head
                engine = self._file_begins(head, engine, found)
            if cycle.number > until:
                if found.is_exact or is_all_there_is:
                    found.positions |= cycle.positions
                elif self._durable:
                    cycle = replace(cycle, samples=self._without_durable(cycle.samples))
            result = self._do(engine, cycle)
            found.cycles += 1
            found.samples += samples
            found.now_ns = cycle.now_ns
            if self._spec is self._present:
                for parked in result.parked:
                    # Nobody waits for those of a run before.
                    self._park(replace(parked, evictions=0))
            if cycle.number > until:
                for draft in result.drafts:
                    if draft.ordinal > self._stored_by_all.get(draft.stream.value, 0) and found.is_exact:
                        found.made += 1
                        self._put(draft)
        install(until + 1)
        if expected <= until:
            found.doubt("the journal ends before the checkpoint")
        if reading is None:
            found.doubt("there is no journal")
        else:
            self._judge(reading, found)
        rest = engine.capture()
        if any(rest.records.get(stream, 0) < ordinal for stream, ordinal in self._stored_by_some.items()):
            found.doubt("records were stored of cycles that are not in the journal")
        if not found.is_exact:
            engine.forget(self._stored_by_some)
        found.engine, found.spec = engine, self._spec
        found.number = max(found.number, expected - 1)
        found.now_ns = max(found.now_ns, rest.now_ns)
        return found

    def _do(self, engine: Engine, cycle: Cycle) -> StepResult:
        for influence in cycle.influences:
            if isinstance(influence, Named):
                for text in influence.texts:
                    self._symbols.intern(text)
        return run_cycle(engine, cycle)

    def _without_durable(self, samples: Samples) -> Samples:
        """What is left when the intake brings its own again."""
        is_left = np.array([tag.name not in self._durable for tag in self._spec.model.tags], np.uint8)
        kept = np.empty_like(samples)
        return kept[: keep_rows(samples, is_left, kept)]

    def _file_begins(self, head: JournalHead, engine: Engine, found: Recovered) -> Engine:
        """The engine for the cycles of this file: another one where the configuration changed."""
        if head.code != self._code:
            found.doubt("the journal was written by another version")
        if head.left_out:
            found.doubt(f"the journal leaves out {head.left_out} tags")
        if head.spec != self._spec.encoded:
            adopt(new := self._build(head.spec), engine)
            return new
        return engine

    def _judge(self, reading: Reading, found: Recovered) -> None:
        for one in reading.found:
            if one.is_torn:
                cut_torn(one)
                message = f"{one}: it was being written at the end and holds nothing that was promised; cut off"
                found.findings.append(Finding(Severity.NOTICE, "journal.torn", message))
            else:
                found.doubt("a block of the journal is damaged")
                message = f"{one}; the cycles in it are lost to the engine's memory: look at the disk"
                found.findings.append(Finding(Severity.ERROR, "journal.damaged", message))

    def _damaged_shares(self, reader: CheckpointReader, head: Head, shares: Shares) -> dict[int, str]:
        bad = {}
        for share in (*range(shares.count), COMMON):
            try:
                reader.image(head.epoch, share, list(shares.blocks_of(share)))
            except CheckpointDamaged as error:
                bad[share] = str(error)
        return bad

    def _fresh_after(self) -> tuple[int, bool]:
        """The cycle before the newest fresh start; when that is too far back or gone, one as far back as is read."""
        assert self._folder is not None
        for path in reversed(paths(self._folder)):
            try:
                if head_of(path).is_fresh:
                    return first_of(path) - 1, True
            except BlockDamaged:
                continue
        return self._rebuild_after(), False

    def _rebuild_after(self) -> int:
        """The cycle behind which the last REBUILD_BYTES_MAX of the journal begin."""
        if self._folder is None:
            return 2**62
        total = 0
        first = 2**62
        for path in reversed(paths(self._folder)):
            total += path.stat().st_size
            if total > REBUILD_BYTES_MAX and first != 2**62:
                break
            first = first_of(path)
        return first - 1

    def _tell_damage(self, found: Recovered, what: str) -> None:
        found.findings.append(Finding(Severity.ERROR, "checkpoint.damaged", f"{what}; look at the disk"))

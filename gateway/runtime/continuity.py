"""What makes the engine go on over restarts: its journal and its checkpoints, wired.

It lives as long as the daemon and sees one engine after the other. Each cycle comes here with what came of it; records
go to the spool once the journal has the cycle on disk, or at once where there is no journal. Every now and then a
checkpoint goes the same way, and is stored in one transaction with the records before it.
"""

from __future__ import annotations

import platform
import sqlite3
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Final

import numpy as np

from gateway import kernelcache
from gateway.core import cycle as core_cycle
from gateway.core.adoption import adopt
from gateway.core.cycle import Cycle, Finished, run_cycle
from gateway.core.engine import Engine, StepResult
from gateway.core.events import Emit, Event, Severity
from gateway.core.lending import Parked
from gateway.core.model import Model
from gateway.core.ports import Clock
from gateway.core.readings import Measured, Reading
from gateway.core.record import RecordDraft, Stream
from gateway.core.snapshot import take_over
from gateway.core.spec import EngineSpec
from gateway.core.symbols import Symbols
from gateway.core.types import NS_PER_S, Bytes
from gateway.runtime.checkpointing import Checkpointer
from gateway.runtime.fan import Fan
from gateway.runtime.recovery import Recovered, Recovery
from gateway.runtime.statedir import JOURNAL_FOLDER, SPOOL_FILE
from gateway.settings import schema
from gateway.spool.checkpoints import Checkpoint, CheckpointWriter, needed_after
from gateway.spool.journal.format import FORMAT, Head
from gateway.spool.journal.writer import Journal, Keep
from gateway.spool.thread import Died, nobody

METRICS: tuple[tuple[str, str, str], ...] = (
    ("fieldgate_checkpoints_total", "counter", "Checkpoints stored."),
    ("fieldgate_checkpoint_written_bytes_total", "counter", "Bytes of the blocks that checkpoints stored."),
    ("fieldgate_checkpoint_age_seconds", "gauge", "Engine time since the last checkpoint that is on the disk."),
    ("fieldgate_recovery_seconds", "gauge", "What the last start took to go on from checkpoint and journal."),
    ("fieldgate_recovery_cycles", "gauge", "Cycles that the last start replayed."),
    ("fieldgate_recovery_exact", "gauge", "1 when records went on in their segments at the last start."),
)

JOURNAL_STOP_S: Final = 1.0
FLUSH_S: Final = 5.0
ROOM_WAIT_S: Final = 0.005

ALL_ROWS: Bytes = np.zeros(0, np.uint8)


def code_of() -> str:
    """Names what computes: another engine, compiler, NumPy or kind of machine may give other bits."""
    engine = kernelcache.digest(Path(core_cycle.__file__))
    return f"{engine} numba-{version('numba')} numpy-{np.__version__} {platform.machine()}"


class Continuity:
    """`use` has the spool encode records of another model from then on; it returns when those before are stored.

    Durable sources may give `passed` a function of the lanes' positions that are safe on disk.
    """

    def __init__(
        self,
        settings: schema.Settings,
        *,
        now_ns: Clock,
        emit: Emit,
        fan: Fan,
        symbols: Symbols,
        use: Callable[[Model], None],
        died: Died = nobody,
    ) -> None:
        self.number = 0
        """Of the last cycle."""
        self.positions: dict[str, int] = {}
        """Of the lanes' last samples that went through the engine, of all lanes there ever were."""
        self.passed: Callable[[dict[str, int]], None] = lambda positions: None
        self._settings = settings
        self._now_ns = now_ns
        self._emit = emit
        self._fan = fan
        self._symbols = symbols
        self._use = use
        self._code = code_of()
        self._writer = CheckpointWriter()
        self._checkpointer: Checkpointer | None = None
        self._engine: Engine | None = None
        self._spec: EngineSpec | None = None
        self._epoch = 0
        self._texts: tuple[str, ...] = ()
        self._stored_ns = now_ns()
        self.recovered = Recovered()
        """What the start found."""
        self._recovery_s = 0.0
        self.journal: Journal | None = None
        if settings.journal is not None:
            self.journal = Journal(
                settings.state_dir / JOURNAL_FOLDER,
                keep=Keep(settings.journal.bytes_max, settings.journal.age_ns, settings.journal.commit_every_ns),
                now_ns=now_ns,
                emit=emit,
                passed=lambda positions: self.passed(positions),
            )
            self.journal.died = died

    # -- start and stop ------------------------------------------------------------------------------------------

    def recover(self, spec: EngineSpec, engine: Engine, park: Callable[[Parked], None]) -> None:
        """Go on from what is on the disk, if anything is; blocks. `engine` is fresh, and of the present `spec`; `park`
        takes the tags that left."""
        began_s = time.monotonic()
        self._use(spec.model)
        found = Recovery(
            database=self._settings.state_dir / SPOOL_FILE,
            folder=self.journal.folder if self.journal is not None else None,
            code=self._code,
            spec=spec,
            engine=engine,
            symbols=self._symbols,
            use=lambda of: self._use(of.model),
            put=self._put_patiently,
            park=park,
            stored=self._fan.stored(),
            durable=frozenset(tag.name for tag in self._settings.tags if tag.is_durable),
        ).run()
        for finding in found.findings:
            self._say(finding.severity, finding.kind, finding.message)
        if self.journal is not None:
            if not found.is_exact:
                self.journal.has_hole(found.number)
            self.journal.start()
        self.recovered = found
        self.number, self.positions = found.number, found.positions
        if found.engine is None or found.spec is None:
            self._fan.begin_segments(dict.fromkeys(Stream, 0))
            return
        self._engine, self._spec, self._epoch = found.engine, found.spec, found.epoch
        if not found.is_exact:
            self._fan.begin_segments(found.engine.capture().records)
        if found.spec.digest != spec.digest:
            self._finish(found.engine, found.spec, found.now_ns)
        self._recovery_s = time.monotonic() - began_s
        how = "records go on in their segments" if found.is_exact else f"records begin new segments: {found.why_not}"
        self._say(
            Severity.NOTICE,
            "gateway.recovered",
            f"went on from cycle {self.number}: {found.cycles} cycles with {found.samples} samples replayed, "
            f"{found.made} records made, in {self._recovery_s:.2f} s; {how}",
        )

    def begin(self, spec: EngineSpec, engine: Engine, settings: schema.Settings) -> None:
        """The next cycle is the first of this engine, which takes over from the one before it."""
        old, is_same = self._engine, self._spec is not None and self._spec.digest == spec.digest
        if old is not None and old is not engine:
            if is_same:
                take_over(engine, old)
            else:
                kept = adopt(engine, old)
                message = f"{kept} of {len(spec.model.tags)} tags go on with their windows, scores and alarms"
                self._say(Severity.INFO, "gateway.adopted", message)
        if not (is_same and self._epoch):
            self._epoch = self.number + 1
        self._engine, self._spec = engine, spec
        self._checkpointer = Checkpointer(
            engine,
            spec,
            code=self._code,
            epoch=self._epoch,
            every_ns=settings.checkpoint_every_ns,
            texts=self._all_texts,
        )
        left_out = settings.journal.left_out if settings.journal is not None else ()
        self._begin_journal(spec, left_out, is_fresh=old is None)

    def stop(self) -> None:
        """The engine has ended: write down the rest. Raises TimeoutError when the disk takes too long."""
        if self.journal is not None and not self.journal.stop(JOURNAL_STOP_S):
            raise TimeoutError(f"the journal did not reach the disk within {JOURNAL_STOP_S:g} s")

    def flush(self) -> None:
        """Returns when the records of all cycles are with the spool."""
        if self.journal is not None and self._engine is not None and not self.journal.flush(FLUSH_S):
            raise TimeoutError(f"the journal did not reach the disk within {FLUSH_S:g} s")

    # -- each cycle ----------------------------------------------------------------------------------------------

    def take(self, cycle: Cycle, result: StepResult) -> None:
        """On the engine's thread, each cycle in order."""
        self.number = cycle.number
        self.positions = self.positions | cycle.positions
        checkpoint = None
        if self._checkpointer is not None:
            checkpoint = self._checkpointer.after(cycle, self.positions)
        if self.journal is not None:
            self.journal.put(cycle, lambda is_covered: self._release(result, checkpoint))
        else:
            self._release(result, checkpoint)

    def measured(self) -> Iterator[Measured]:
        yield self
        if self.journal is not None:
            yield self.journal

    def readings(self) -> Iterator[Reading]:
        yield Reading("fieldgate_checkpoints_total", self._writer.checkpoints)
        yield Reading("fieldgate_checkpoint_written_bytes_total", self._writer.bytes_written)
        yield Reading("fieldgate_checkpoint_age_seconds", max(0, self._now_ns() - self._stored_ns) / NS_PER_S)
        yield Reading("fieldgate_recovery_seconds", self._recovery_s)
        yield Reading("fieldgate_recovery_cycles", self.recovered.cycles)
        yield Reading("fieldgate_recovery_exact", float(self.recovered.is_exact))

    def _release(self, result: StepResult, checkpoint: Checkpoint | None) -> None:
        for draft in result.drafts:
            self._fan.put(draft)
        if checkpoint is not None and self._checkpointer is not None:
            self._fan.accompany(_Storing(checkpoint, self._writer, self._checkpointer, self._is_stored))

    def _is_stored(self, checkpoint: Checkpoint, needed: int) -> None:
        """On the spool's thread."""
        self._stored_ns = self._now_ns()
        if self.journal is not None:
            self.journal.let_go(needed)
        else:
            self.passed(checkpoint.head.positions)

    def _put_patiently(self, draft: RecordDraft) -> None:
        while not self._fan.has_room():
            time.sleep(ROOM_WAIT_S)
        self._fan.put_again(draft)

    def _finish(self, engine: Engine, spec: EngineSpec, now_ns: int) -> None:
        """Record what an engine of another configuration had under way, as its last cycle."""
        self._use(spec.model)
        self._begin_journal(spec, (), is_fresh=False)
        cycle = Cycle(self.number + 1, now_ns, influences=(Finished(),))
        self.take(cycle, run_cycle(engine, cycle))
        self.flush()

    def _begin_journal(self, spec: EngineSpec, left_out: tuple[str, ...], *, is_fresh: bool) -> None:
        if self.journal is None:
            return
        names = frozenset(left_out)
        is_kept = np.array([tag.name not in names for tag in spec.model.tags], np.uint8)
        missing = len(is_kept) - int(is_kept.sum())
        head = Head(
            FORMAT,
            self._settings.gateway_id,
            self._code,
            spec.encoded,
            missing,
            is_fresh=is_fresh,
            texts=self._all_texts(),
        )
        self.journal.begin(head, is_kept if missing else ALL_ROWS)

    def _all_texts(self) -> tuple[str, ...]:
        if len(self._symbols) > len(self._texts):
            self._texts += self._symbols.texts_since(len(self._texts))
        return self._texts

    def _say(self, severity: Severity, kind: str, message: str) -> None:
        self._emit(Event(self._now_ns(), severity, kind, "engine", message))


class _Storing:
    """One checkpoint on its way into a transaction of the spool (`gateway.spool.requests.Companion`)."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        writer: CheckpointWriter,
        checkpointer: Checkpointer,
        is_stored: Callable[[Checkpoint, int], None],
    ) -> None:
        self._checkpoint = checkpoint
        self._writer = writer
        self._checkpointer = checkpointer
        self._is_stored = is_stored
        self._changed: list[tuple[int, int, bytes, bytes]] = []

    def prepare(self) -> None:
        self._changed = self._writer.prepare(self._checkpoint)

    def write(self, connection: sqlite3.Connection) -> None:
        self._writer.write(connection, self._checkpoint, self._changed)

    def given_up(self) -> None:
        """The journal goes on from the checkpoint before."""

    def stored(self, connection: sqlite3.Connection) -> None:
        size = self._writer.written(self._checkpoint, self._changed)
        self._checkpointer.stored(len(self._checkpoint.images), size)
        head = self._checkpoint.head
        self._is_stored(self._checkpoint, needed_after(connection, head.epoch, head.shares))

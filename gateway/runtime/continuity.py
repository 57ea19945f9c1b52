"""What makes the engine go on over restarts: its journal, wired.

It lives as long as the daemon and sees one engine after the other. Each cycle comes here with what came of it; records
go to the spool once the journal has the cycle on disk, or at once where there is no journal.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np

from gateway import kernelcache
from gateway.core import cycle as core_cycle
from gateway.core.cycle import Cycle
from gateway.core.engine import StepResult
from gateway.core.events import Emit
from gateway.core.ports import Clock
from gateway.core.readings import Measured
from gateway.core.record import RecordDraft
from gateway.core.spec import EngineSpec
from gateway.core.types import Bytes
from gateway.settings import schema
from gateway.spool.journal.files import Reading
from gateway.spool.journal.format import FORMAT, Head
from gateway.spool.journal.writer import Journal, Keep

JOURNAL_FOLDER = "journal"
JOURNAL_STOP_S = 1.0
FLUSH_S = 5.0

ALL_ROWS: Bytes = np.zeros(0, np.uint8)


def code_of() -> str:
    """Names what computes: another engine, compiler, NumPy or kind of machine may give other bits."""
    engine = kernelcache.digest(Path(core_cycle.__file__))
    return f"{engine} numba-{version('numba')} numpy-{np.__version__} {platform.machine()}"


class Continuity:
    """`put` takes the records. Durable sources may give `passed` a function of the lanes' positions that are safe."""

    def __init__(
        self,
        settings: schema.Settings,
        *,
        now_ns: Clock,
        emit: Emit,
        put: Callable[[RecordDraft], None],
    ) -> None:
        self.number = 0
        """Of the last cycle."""
        self.positions: dict[str, int] = {}
        """Of the lanes' last samples that went through the engine, of all lanes there ever were."""
        self.passed: Callable[[dict[str, int]], None] = lambda positions: None
        self._gateway = settings.gateway_id
        self._put = put
        self._code = code_of()
        self.journal: Journal | None = None
        if settings.journal is not None:
            folder = settings.state_dir / JOURNAL_FOLDER
            self.journal = Journal(
                folder,
                keep=Keep(settings.journal.bytes_max, settings.journal.age_ns, settings.journal.commit_every_ns),
                now_ns=now_ns,
                emit=emit,
                passed=lambda positions: self.passed(positions),
            )
            self.number, self.positions = _end_of(folder)

    def start(self) -> None:
        if self.journal is not None:
            self.journal.start()

    def stop(self) -> None:
        """The engine has ended: write down the rest. Raises TimeoutError when the disk takes too long."""
        if self.journal is not None and not self.journal.stop(JOURNAL_STOP_S):
            raise TimeoutError(f"the journal did not reach the disk within {JOURNAL_STOP_S:g} s")

    def flush(self) -> None:
        """Returns when the records of all cycles are with the spool."""
        if self.journal is not None and not self.journal.flush(FLUSH_S):
            raise TimeoutError(f"the journal did not reach the disk within {FLUSH_S:g} s")

    def begin(self, spec: EngineSpec, settings: schema.Settings) -> None:
        """The next cycle is the first of an engine of this spec."""
        if self.journal is not None and settings.journal is not None:
            left_out = frozenset(settings.journal.left_out)
            is_kept = np.array([tag.name not in left_out for tag in spec.model.tags], np.uint8)
            missing = len(is_kept) - int(is_kept.sum())
            head = Head(FORMAT, self._gateway, self._code, spec.encoded, missing)
            self.journal.begin(head, is_kept if missing else ALL_ROWS)

    def take(self, cycle: Cycle, result: StepResult) -> None:
        """On the engine's thread, each cycle in order."""
        self.number = cycle.number
        self.positions = self.positions | cycle.positions
        if self.journal is not None:
            self.journal.put(cycle, lambda is_covered: self._release(result))
        else:
            self._release(result)

    def measured(self) -> Iterator[Measured]:
        if self.journal is not None:
            yield self.journal

    def _release(self, result: StepResult) -> None:
        for draft in result.drafts:
            self._put(draft)


def _end_of(folder: Path) -> tuple[int, dict[str, int]]:
    """Number of the last cycle on disk, and the lanes' positions after it."""
    reading = Reading(folder)
    for _ in reading.cycles():
        pass
    return reading.last, reading.positions

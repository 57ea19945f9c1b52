"""Checkpoints, taken while the engine works: a few images each cycle, one checkpoint each period.

All shares have their turn in ROUND checkpoints, or in more of them where their bytes would be more than the disk is to
take (BYTES_PER_S). So a restart replays what came since the oldest image: about a round. The first checkpoint of an
engine takes as many as it can, to be whole soon. While one checkpoint waits for the disk no other is begun, so
there is never more than one in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gateway.core.cycle import Cycle, Finished
from gateway.core.engine import Engine
from gateway.core.limits import GRID_NS
from gateway.core.snapshot import COMMON, Image, Shares
from gateway.core.spec import EngineSpec
from gateway.core.types import NS_PER_S
from gateway.spool.checkpoints import Checkpoint, Head

ROUND: Final = 16
FIRST_SHARES: Final = 64
BYTES_PER_S: Final = 2_000_000
"""Of compressed blocks. SQLite writes each byte twice, to its log and to its place, and whole pages."""


class Checkpointer:
    """Of one engine. `after` belongs to the engine's thread, `stored` to whoever stores."""

    def __init__(
        self,
        engine: Engine,
        spec: EngineSpec,
        *,
        code: str,
        epoch: int,
        every_ns: int,
        texts: Callable[[], tuple[str, ...]],
    ) -> None:
        self._engine = engine
        self._spec = spec
        self._code = code
        self._epoch = epoch
        self._every_ns = every_ns
        self._texts = texts
        self._shares = Shares(engine)
        self._images: list[tuple[int, Image]] = []
        self._turn = 0
        self._quota = min(self._shares.count, FIRST_SHARES)
        self._due_ns = 0
        self._is_storing = False

    @property
    def shares(self) -> int:
        return self._shares.count

    def after(self, cycle: Cycle, positions: dict[str, int]) -> Checkpoint | None:
        """Behind each cycle: a checkpoint, when one is due. `positions` are those of all lanes there ever were."""
        is_last = any(isinstance(influence, Finished) for influence in cycle.influences)
        if self._due_ns == 0:
            self._due_ns = cycle.now_ns + self._every_ns
        per_cycle = -(-self._quota * GRID_NS // self._every_ns)
        wanted = min(self._quota - len(self._images), per_cycle)
        if is_last:
            # What is cheap is taken whole, so that the next start has nothing to replay.
            self._images.clear()
            wanted = min(self._shares.count, FIRST_SHARES)
        for _ in range(wanted):
            self._images.append((cycle.number, self._shares.capture(self._turn)))
            self._turn = (self._turn + 1) % self._shares.count
        if not is_last and (self._is_storing or cycle.now_ns < self._due_ns or len(self._images) < self._quota):
            return None
        images, self._images = self._images, []
        self._is_storing = True
        self._due_ns = cycle.now_ns + self._every_ns
        head = Head(
            epoch=self._epoch,
            number=cycle.number,
            shares=self._shares.count,
            layout=self._shares.layout,
            code=self._code,
            spec=self._spec.digest,
            rest=self._engine.capture(),
            positions=positions,
            texts=self._texts(),
        )
        common = (cycle.number, self._shares.capture(COMMON))
        return Checkpoint(head, self._spec.encoded, (*images, common))

    def stored(self, taken: int, size_bytes: int) -> None:
        """The checkpoint, of so many shares, is on the disk with so many bytes."""
        budget = BYTES_PER_S * self._every_ns // NS_PER_S
        affordable = taken * budget // max(1, size_bytes)
        self._quota = max(1, min(-(-self._shares.count // ROUND), affordable))
        self._is_storing = False

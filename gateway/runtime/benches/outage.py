"""An outage under load: live records at a steady rate while the upstream is away, then the drain beside them.

Records of 8,192 samples are put at the rate, as the engine cuts them, into a spool with its thread; `Delivery` takes
them to files that are synced for each answer. These lie in memory where the machine has a place for that: the far end
is another machine, and what its disk does is not to be taken for the gateway's. The upstream is away for the outage and
stays up after it. A record's delay counts from when it was due to when it was answered. In the end every identity that
was given out must have been answered once, and every sample that was made be in one of them.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from gateway.core.events import Event
from gateway.core.limits import RECORD_SAMPLES_MAX
from gateway.core.ports import Answer, LinkDown, Upstream
from gateway.core.record import Identity, RecordDraft, Stream
from gateway.core.types import NS_PER_MS, NS_PER_S, Samples
from gateway.receiver import Offer, SequenceLedger
from gateway.runtime.benches import overload
from gateway.runtime.benches.delivering import delivering
from gateway.runtime.benches.environment import environment
from gateway.runtime.benches.spool_data import as_sent, batches
from gateway.settings.schema import FileAddress
from gateway.spool.store import Store
from gateway.spool.worker import SpoolWorker
from gateway.upstreams import file

Progress = Callable[[str], None]

DRAIN_RECORDS_PER_S = 200
"""The default of `drain`."""
BUFFER_BYTES = 2 * 10**9
WARM_S = 1.0
CALM_S = 5.0
"""Live traffic without a backlog, for comparison, before the outage and after the drain."""
BATCHES = 64
IN_MEMORY = Path("/dev/shm")
ROTATE_BYTES = 1 << 26
LIVE_BUDGET_MS = 250.0
"""What a live record may take from its cut to its answer, at the 99th percentile. Records are cut once a second."""


@dataclass(slots=True)
class Phase:
    """Delays of live records in ns, and what was drained."""

    live_ns: list[int] = field(default_factory=list)

    def figures(self, name: str) -> dict[str, float]:
        found = sorted(self.live_ns)
        return {
            f"{name}_live_p50_ms": round(statistics.median(found) / NS_PER_MS, 1) if found else 0.0,
            f"{name}_live_p99_ms": round(found[int(len(found) * 0.99)] / NS_PER_MS, 1) if found else 0.0,
        }


class Far:
    """The far end: away or not, and which records came when."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.is_away = False
        self.is_connected = False
        self.ledger = SequenceLedger()
        self.duplicates = 0
        self.answered_ns: dict[bytes, int] = {}
        self._inner: Upstream | None = None

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Upstream]:
        if self.is_away:
            raise LinkDown("away", "")
        async with file.connect(FileAddress(path=self._path, rotate_bytes=ROTATE_BYTES)) as inner:
            self._inner = inner
            self.is_connected = True
            yield self
            self.is_connected = False

    async def send(self, identity: Identity, payload: bytes) -> Answer:
        assert self._inner is not None
        if self.is_away:
            self.is_connected = False
            raise LinkDown("away", "")
        answer = await self._inner.send(identity, payload)
        if self.ledger.offer(identity) is Offer.DUPLICATE:
            self.duplicates += 1
        else:
            self.answered_ns[key_of(payload)] = time.monotonic_ns()
        for old in sorted(self._path.parent.glob(f"{self._path.stem}-*"))[:-1]:
            # Whole files that were synced have done their work here.
            old.unlink()
        return answer


def key_of(payload: bytes) -> bytes:
    """The number of the draft, which stands in its body as the first time; empty for what the spool itself made."""
    begin = payload.find(b'"first_ns":')
    return payload[begin : payload.find(b",", begin)] if begin >= 0 else b""


class Plant:
    """Puts records at a rate. Numbers stand in for times, so that a record is known again at the far end."""

    def __init__(self, worker: SpoolWorker, samples_per_s: int) -> None:
        self._worker = worker
        self._records: list[Samples] = batches(BATCHES)
        self._period_ns = RECORD_SAMPLES_MAX * NS_PER_S // samples_per_s
        self._started_ns = time.monotonic_ns()
        self.due_ns: list[int] = []

    async def run(self, until: Callable[[], bool]) -> range:
        """Live records until that holds; their numbers."""
        first = len(self.due_ns)
        while not until():
            due_ns = self._started_ns + len(self.due_ns) * self._period_ns
            await asyncio.sleep(max(0, due_ns - time.monotonic_ns()) / NS_PER_S)
            number = len(self.due_ns)
            self.due_ns.append(due_ns)
            self._worker.put(RecordDraft(Stream.SAMPLES, number, number, self._records[number % BATCHES]))
        return range(first, len(self.due_ns))


def run(*, samples_per_s: int, outage_s: float, overload_per_s: int, progress: Progress) -> dict[str, object]:
    """The whole of it takes about twice the outage, and with an overload three times."""
    memory = IN_MEMORY if os.access(IN_MEMORY, os.W_OK) else None
    with (
        tempfile.TemporaryDirectory(prefix="fieldgate-bench-") as folder,
        tempfile.TemporaryDirectory(prefix="fieldgate-bench-", dir=memory) as far,
    ):
        played = asyncio.run(_run(Path(folder), Path(far), samples_per_s, outage_s, progress))
    figures: dict[str, object] = {"far_end_in_memory": memory is not None, **played}
    if overload_per_s:
        figures |= overload.run(samples_per_s=overload_per_s, outage_s=outage_s, progress=progress)
    return {"bench": "outage", "environment": environment(), "figures": figures, "peers": {}, "ratios": {}}


async def _run(
    place: Path, far_place: Path, samples_per_s: int, outage_s: float, progress: Progress
) -> dict[str, float]:
    events: list[Event] = []
    store = Store(place / "spool.db", bytes_max=BUFFER_BYTES)
    worker = SpoolWorker(
        store=store,
        encode=lambda draft: as_sent(draft.rows, draft.first_ns),  # type: ignore[arg-type]
        now_ns=time.monotonic_ns,
        emit=events.append,
    )
    far = Far(far_place / "far.jsonl")
    async with delivering(worker, far.connect, records_per_s=DRAIN_RECORDS_PER_S, emit=events.append):
        return await _play(worker, far, samples_per_s, outage_s, progress)


async def _play(
    worker: SpoolWorker, far: Far, samples_per_s: int, outage_s: float, progress: Progress
) -> dict[str, float]:
    plant = Plant(worker, samples_per_s)

    def after(seconds: float) -> Callable[[], bool]:
        end_s = time.monotonic() + seconds
        return lambda: time.monotonic() >= end_s

    progress("live records, no backlog")
    await plant.run(after(WARM_S))
    calm = await plant.run(after(CALM_S))
    progress(f"an outage of {outage_s:g} s")
    far.is_away = True
    await plant.run(after(outage_s))
    waiting = worker.snapshot()
    backlog_samples = waiting.records * RECORD_SAMPLES_MAX
    progress(f"the drain of {backlog_samples / 1e6:.1f} million samples, beside live records")
    answered, began_s = len(far.answered_ns), time.monotonic()
    far.is_away = False
    # What comes before the outage's segment is closed belongs to the backlog.
    await plant.run(lambda: far.is_connected and worker.snapshot().segments_closed > 0)
    give_up_s = began_s + 2 * outage_s
    few = max(3, 2 * samples_per_s // RECORD_SAMPLES_MAX // 5)
    drain = await plant.run(lambda: worker.snapshot().records <= few or time.monotonic() > give_up_s)
    drain_s = time.monotonic() - began_s
    drained = (len(far.answered_ns) - answered - len(drain)) * RECORD_SAMPLES_MAX
    progress("live records again")
    again = await plant.run(after(CALM_S))
    deadline_s = time.monotonic() + 10
    while (worker.depth() or len(far.answered_ns) < len(plant.due_ns)) and time.monotonic() < deadline_s:
        await asyncio.sleep(0.02)
    made = len(plant.due_ns)
    arrived = sum(bool(key) for key in far.answered_ns)
    dropped = sum(count for what, count in worker.snapshot().counts.items() if what[0] == "dropped_records")
    figures: dict[str, float] = {
        "samples_per_s": samples_per_s,
        "outage_s": outage_s,
        "disk_bytes_per_sample": round(waiting.bytes / max(1, backlog_samples), 2),
        "backlog_samples": backlog_samples,
        "drain_s": round(drain_s, 1),
        "drain_to_live": round(drained / drain_s / samples_per_s, 2),
        "live_budget_ms": LIVE_BUDGET_MS,
        "samples_made": made * RECORD_SAMPLES_MAX,
        "samples_missing": (made - arrived) * RECORD_SAMPLES_MAX,
        "records_dropped": dropped,
        "records_missing": far.ledger.summary().missing,
    }
    for name, numbers in (("calm", calm), ("drain", drain), ("again", again)):
        figures |= _phase(plant, far, numbers).figures(name)
    return figures


def _phase(plant: Plant, far: Far, numbers: range) -> Phase:
    phase = Phase()
    for number in numbers:
        answered_ns = far.answered_ns.get(b'"first_ns":%d' % number)
        if answered_ns is not None:
            phase.live_ns.append(answered_ns - plant.due_ns[number])
    return phase

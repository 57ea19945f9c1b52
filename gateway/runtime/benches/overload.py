"""More than can be kept: the upstream is away, the buffer is small, and samples come at a million a second.

The ladder (`gateway.core.pressure`) must be climbed in its order, and in the end the far end must know of every sample
that was made: it has it, or a loss report that came to it says that it was left out, and why. Raw samples are of a
thousand tags; records of aggregates and events come beside them, as a plant makes them.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from gateway.core.encode import Encoder
from gateway.core.events import Event, Severity
from gateway.core.limits import RECORD_SAMPLES_MAX
from gateway.core.model import Model
from gateway.core.ports import LinkDown, Upstream, Verdict
from gateway.core.record import AGGREGATE, Identity, RecordDraft, Stream
from gateway.core.segments import KIND_LEDGER, Loss
from gateway.core.symbols import no_texts
from gateway.core.types import NS_PER_MS, NS_PER_S, Kind, Samples
from gateway.receiver import Offer, SequenceLedger
from gateway.runtime.benches.delivering import delivering
from gateway.runtime.benches.spool_data import NAMES, TAGS, batches
from gateway.spool.records import Grace
from gateway.spool.store import Store
from gateway.spool.worker import SpoolWorker

Progress = Callable[[str], None]

BUFFER_BYTES: Final = 4 * 10**6
BATCHES: Final = 64
AGGREGATES_EVERY: Final = 10
"""Records of samples to one of aggregates: 100,000 tags that record theirs each second make 12 of those, and a
million samples 122 records."""
KINDS: Final = (Kind.F64,) * TAGS
SETTLE_S: Final = 60.0


class _Body(msgspec.Struct):
    record: str = ""
    dropped: tuple[Loss, ...] = ()


class Far:
    """The far end: away or not, and what it knows of."""

    def __init__(self) -> None:
        self.is_away = False
        self.arrived: Counter[str] = Counter()
        """Samples by stream."""
        self.ledgered: Counter[tuple[str, str]] = Counter()
        """Samples by stream and reason."""
        self._seen = SequenceLedger()

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Upstream]:
        if self.is_away:
            raise LinkDown("away", "")
        yield self

    async def send(self, identity: Identity, payload: bytes) -> Verdict:
        await asyncio.sleep(0)
        if self.is_away:
            raise LinkDown("away", "")
        if self._seen.offer(identity) is not Offer.DUPLICATE:
            self._take(identity.stream, payload)
        return Verdict.ACCEPTED

    def _take(self, stream: str, payload: bytes) -> None:
        begin = payload.find(b'"tag":[')
        if begin >= 0:
            self.arrived[stream] += payload.count(b",", begin, payload.find(b"]", begin)) + 1
        elif b'"record":"%s"' % KIND_LEDGER.encode() in payload:
            for loss in msgspec.json.decode(payload, type=_Body).dropped:
                self.ledgered[loss.stream, loss.reason] += loss.samples


class Plant:
    """Puts records at a rate."""

    def __init__(self, worker: SpoolWorker, samples_per_s: int) -> None:
        self._worker = worker
        self._records: list[Samples] = batches(BATCHES)
        self._span_ns = int(self._records[-1]["source_ns"][-1] - self._records[0]["source_ns"][0]) + 100 * NS_PER_MS
        self._period_ns = RECORD_SAMPLES_MAX * NS_PER_S // samples_per_s
        self._aggregates: Samples = np.zeros(RECORD_SAMPLES_MAX, AGGREGATE)
        self._aggregates["row"] = np.arange(RECORD_SAMPLES_MAX) % TAGS
        self._rng = np.random.default_rng(1)
        self.made: Counter[str] = Counter()

    async def run(self, until: Callable[[], bool]) -> None:
        begin_ns, count = time.monotonic_ns(), 0
        while not until():
            await asyncio.sleep(max(0, begin_ns + count * self._period_ns - time.monotonic_ns()) / NS_PER_S)
            turn, place = divmod(count, BATCHES)
            rows = self._records[place].copy()
            rows["source_ns"] += turn * self._span_ns
            self._put(Stream.SAMPLES, rows)
            if count % AGGREGATES_EVERY == 0:
                rows = self._aggregates.copy()
                rows["mean"] = self._rng.random(len(rows)).round(3)
                self._put(Stream.AGGREGATES, rows)
            count += 1

    def _put(self, stream: Stream, rows: Samples) -> None:
        self.made[stream.value] += len(rows)
        now_ns = time.monotonic_ns()
        self._worker.put(RecordDraft(stream, now_ns, now_ns, rows, NAMES, KINDS))


def run(*, samples_per_s: int, outage_s: float, progress: Progress) -> dict[str, object]:
    """Figures only. Takes the outage and about ten seconds more."""
    with tempfile.TemporaryDirectory(prefix="fieldgate-bench-") as folder:
        return asyncio.run(_run(Path(folder), samples_per_s, outage_s, progress))


async def _run(place: Path, samples_per_s: int, outage_s: float, progress: Progress) -> dict[str, object]:
    events: list[Event] = []
    worker = SpoolWorker(
        store=Store(place / "spool.db", bytes_max=BUFFER_BYTES, grace=Grace()),
        encode=Encoder(Model((), ()), no_texts),
        now_ns=time.monotonic_ns,
        emit=events.append,
    )
    far = Far()
    async with delivering(worker, far.connect, records_per_s=10_000, emit=events.append):
        return await _play(worker, far, events, samples_per_s, outage_s, progress)


async def _play(
    worker: SpoolWorker, far: Far, events: list[Event], samples_per_s: int, outage_s: float, progress: Progress
) -> dict[str, object]:
    progress(f"{samples_per_s:,} samples/s through an outage of {outage_s:g} s, {BUFFER_BYTES / 1e6:g} MB of buffer")
    plant = Plant(worker, samples_per_s)
    far.is_away = True
    end_s = time.monotonic() + outage_s
    await plant.run(lambda: time.monotonic() >= end_s)
    progress("the link is back")
    far.is_away = False
    began_s = time.monotonic()
    while _unaccounted(plant, far) and time.monotonic() - began_s < SETTLE_S:
        # Loss reports go out with what is stored next, once a second.
        worker.put(RecordDraft(Stream.EVENTS, 0, 0, (Event(0, Severity.INFO, "bench", "bench", "on"),)))
        await asyncio.sleep(0.25)
    steps = [int(event.message.split()[1]) for event in events if event.kind == "pressure.raised"]
    return {
        "overload_samples_per_s": samples_per_s,
        "overload_outage_s": outage_s,
        "overload_buffer_bytes": BUFFER_BYTES,
        "overload_steps_climbed": steps,
        "overload_samples_made": plant.made.total(),
        "overload_samples_arrived": far.arrived.total(),
        "overload_samples_ledgered": {f"{stream}: {reason}": n for (stream, reason), n in sorted(far.ledgered.items())},
        "overload_samples_unaccounted": sum(_unaccounted(plant, far).values()),
        "overload_settled_s": round(time.monotonic() - began_s, 1),
    }


def _unaccounted(plant: Plant, far: Far) -> dict[str, int]:
    """By stream, samples of which the far end knows nothing, or of which it knows twice."""
    known = far.arrived.copy()
    for (stream, _), count in far.ledgered.items():
        known[stream] += count
    return {stream: made - known[stream] for stream, made in plant.made.items() if made != known[stream]}

"""How much the spool takes, what that costs on the disk, how fast a backlog drains, and how soon it is back.

Write: records of 8,192 samples are encoded, compressed and stored in transactions of a few, each synced, as the spool
thread does it; the peers write the same samples, interleaved, three times each, medians. Drain: a backlog of closed
segments goes through `Delivery` to a file upstream (each record synced there), while live records are put at a
steady rate; a live record's latency counts from when it was due to when it was accepted. Recovery: the files are
copied while the store is open, which is what a power cut leaves, and the copy is checked and opened.
"""

from __future__ import annotations

import asyncio
import shutil
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.core.events import Event
from gateway.core.limits import RECORD_SAMPLES_MAX
from gateway.core.ports import Answer, Upstream
from gateway.core.record import Identity, RecordDraft, Stream
from gateway.core.types import NS_PER_MS, NS_PER_S, Samples
from gateway.runtime.benches.delivering import delivering
from gateway.runtime.benches.environment import environment
from gateway.runtime.benches.rows_peer import drain_litequeue, write_litequeue, write_rows
from gateway.runtime.benches.spool_data import as_sent, batches, encoding_costs
from gateway.settings.schema import FileAddress
from gateway.spool.records import Encoded, Lane, compress
from gateway.spool.salvage import damage
from gateway.spool.store import Store
from gateway.spool.worker import SpoolWorker
from gateway.upstreams import file

Progress = Callable[[str], None]

PLENTY = 1 << 40
BATCHES = 32
GROUP = 8
"""Records a transaction; more wait rarely at once."""
TRIES = 3
LIVE_PER_S = 20
"""Live records while the backlog drains."""
ANSWERED_S = 30
"""For what is still under way when the backlog has gone: a busy disk may take seconds for one commit."""
ROTATE_BYTES = 1 << 30


def run(*, seconds: float, progress: Progress) -> dict[str, object]:
    """A whole benchmark of about `seconds`."""
    records = batches(BATCHES)
    each_s = seconds * 0.5 / (TRIES * 3)
    with tempfile.TemporaryDirectory(prefix="fieldgate-bench-") as folder:
        place = Path(folder)
        writes = _write_all(place, records, each_s, progress)
        progress("drain beside live records")
        drained = asyncio.run(_drain(place, records, int(max(100, seconds * 12)), seconds * 0.3))
        taken, taken_s = drain_litequeue(place / "litequeue-0.db", RECORD_SAMPLES_MAX, seconds * 0.05)
        progress("recovery")
        recovery = _recover(place, records)
    ours, rows, queue = (writes[name] for name in ("spool", "rows", "litequeue"))
    figures = {
        "write_samples_per_s": ours[0],
        "disk_bytes_per_sample": ours[1],
        **drained,
        **recovery,
    }
    peers = {
        "rows_executemany": {"write_samples_per_s": rows[0], "disk_bytes_per_sample": rows[1]},
        "litequeue": {
            "write_samples_per_s": queue[0],
            "disk_bytes_per_sample": queue[1],
            "drain_samples_per_s": round(taken / taken_s),
        },
    }
    return {
        "bench": "spool",
        "environment": environment(),
        "figures": figures,
        "encodings": encoding_costs(records),
        "peers": peers,
        "ratios": {
            "write_ratio_to_rows_executemany": round(ours[0] / rows[0], 2),
            "write_ratio_to_litequeue": round(ours[0] / queue[0], 2),
            "disk_ratio_to_rows_executemany": round(rows[1] / ours[1], 2),
            "disk_ratio_to_litequeue": round(queue[1] / ours[1], 2),
        },
    }


def _write_all(
    place: Path, records: list[Samples], each_s: float, progress: Progress
) -> dict[str, tuple[float, float]]:
    """Samples a second and bytes a sample on the disk, medians over interleaved tries."""
    bodies = [as_sent(batch).decode() for batch in records]
    found: dict[str, list[tuple[float, float]]] = {}
    for number in range(TRIES):
        for name in ("spool", "rows", "litequeue"):
            path = place / f"{name}-{number}.db"
            progress(f"write {name}, try {number + 1} of {TRIES}")
            if name == "spool":
                written, taken_s = _write_spool(path, records, each_s)
            elif name == "rows":
                written, taken_s = write_rows(path, records, each_s)
            else:
                written, taken_s = write_litequeue(path, bodies, RECORD_SAMPLES_MAX, each_s)
            found.setdefault(name, []).append((written / taken_s, path.stat().st_size / written))
    return {
        name: (round(statistics.median(row[0] for row in tries)), round(statistics.median(row[1] for row in tries), 2))
        for name, tries in found.items()
    }


def _encoded(batch: Samples) -> Encoded:
    first_ns, last_ns = int(batch["source_ns"][0]), int(batch["source_ns"][-1])
    return Encoded(Stream.SAMPLES, first_ns, last_ns, len(batch), compress(as_sent(batch)))


def _write_spool(path: Path, records: list[Samples], seconds: float) -> tuple[int, float]:
    store = Store(path, bytes_max=PLENTY)
    written = 0
    started_s = time.perf_counter()
    while (elapsed_s := time.perf_counter() - started_s) < seconds:
        store.append([_encoded(records[(written + n) % len(records)]) for n in range(GROUP)], 0)
        written += GROUP
    store.close()
    return written * RECORD_SAMPLES_MAX, elapsed_s


class _Timed:
    """The far end, with the time at which each record of a live segment was accepted."""

    def __init__(self, inner: Upstream, backlog_below: int) -> None:
        self._inner = inner
        self._backlog_below = backlog_below
        self.drained = 0
        self.accepted_ns: list[int] = []

    async def send(self, identity: Identity, payload: bytes) -> Answer:
        answer = await self._inner.send(identity, payload)
        if identity.segment < self._backlog_below:
            self.drained += 1
        else:
            self.accepted_ns.append(time.monotonic_ns())
        return answer


async def _drain(place: Path, records: list[Samples], backlog: int, seconds_max: float) -> dict[str, float]:
    store = Store(place / "drain.db", bytes_max=PLENTY)
    for at in range(0, backlog, GROUP):
        store.append([_encoded(records[(at + n) % len(records)]) for n in range(GROUP)], 0)
    store.close_waiting_segments()
    waiting = store.totals.records
    newest = max(record.key.segment for record in store.next_records(Lane.BACKLOG, {}, 1))
    timed: list[_Timed] = []

    @asynccontextmanager
    async def connect() -> AsyncIterator[Upstream]:
        async with file.connect(FileAddress(path=place / "drained.jsonl", rotate_bytes=ROTATE_BYTES)) as upstream:
            timed.append(_Timed(upstream, newest + 1))
            yield timed[-1]

    events: list[Event] = []
    worker = SpoolWorker(
        store=store,
        encode=lambda draft: as_sent(draft.rows),  # type: ignore[arg-type]
        now_ns=time.monotonic_ns,
        emit=events.append,
    )
    async with delivering(worker, connect, records_per_s=100_000, emit=events.append):
        while not timed:
            await asyncio.sleep(0.001)
        due_ns, elapsed_s = await _live(worker, timed[0], records, waiting, seconds_max)
    latencies = sorted(accepted - due for due, accepted in zip(due_ns, timed[0].accepted_ns, strict=False))
    drained_per_s = timed[0].drained * RECORD_SAMPLES_MAX / elapsed_s
    live_per_s = LIVE_PER_S * RECORD_SAMPLES_MAX
    return {
        "drain_samples_per_s": round(drained_per_s),
        "live_samples_per_s": live_per_s,
        "drain_to_live": round(drained_per_s / live_per_s, 2),
        "live_p50_ms": round(statistics.median(latencies) / NS_PER_MS, 1),
        "live_p99_ms": round(latencies[int(len(latencies) * 0.99)] / NS_PER_MS, 1),
        "drained_share": round(timed[0].drained / waiting, 3),
    }


async def _live(
    worker: SpoolWorker, timed: _Timed, records: list[Samples], waiting: int, seconds_max: float
) -> tuple[list[int], float]:
    """Put live records at their rate until the backlog is drained; when each was due, and how long it took."""
    started_ns = time.monotonic_ns()
    due_ns: list[int] = []
    while timed.drained < waiting and time.monotonic_ns() - started_ns < seconds_max * NS_PER_S:
        due_ns.append(started_ns + len(due_ns) * NS_PER_S // LIVE_PER_S)
        await asyncio.sleep(max(0, due_ns[-1] - time.monotonic_ns()) / NS_PER_S)
        batch = records[len(due_ns) % len(records)]
        worker.put(RecordDraft(Stream.SAMPLES, int(batch["source_ns"][0]), int(batch["source_ns"][-1]), batch))
    elapsed_s = (time.monotonic_ns() - started_ns) / NS_PER_S
    deadline_ns = time.monotonic_ns() + ANSWERED_S * NS_PER_S
    while len(timed.accepted_ns) < len(due_ns) and time.monotonic_ns() < deadline_ns:
        await asyncio.sleep(0.005)
    return due_ns, elapsed_s


def _recover(place: Path, records: list[Samples]) -> dict[str, float]:
    """From the files as a power cut leaves them to a store that takes records."""
    store = Store(place / "cut.db", bytes_max=PLENTY)
    for at in range(0, 4 * BATCHES, GROUP):
        store.append([_encoded(records[(at + n) % len(records)]) for n in range(GROUP)], 0)
    for beside in ("", "-wal"):
        shutil.copy(place / f"cut.db{beside}", place / f"again.db{beside}")
    held = store.totals.records
    store.close()
    started_s = time.perf_counter()
    reason = damage(place / "again.db")
    again = Store(place / "again.db", bytes_max=PLENTY)
    recovery_s = time.perf_counter() - started_s
    lost = held + 1 - again.totals.records
    again.close()
    return {
        "recovery_ms": round(recovery_s * 1_000, 1),
        "recovery_file_bytes": (place / "again.db").stat().st_size,
        "recovery_lost_records": lost,
        "recovery_damaged": int(bool(reason)),
    }

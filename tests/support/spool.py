"""Drafts, a stand-in encoder and a thread's worth of spool for the tests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from gateway.core.events import Event
from gateway.core.record import Identity, RecordDraft, Stream
from gateway.core.types import SAMPLE
from gateway.spool.records import Encoded, Grace, compress
from gateway.spool.store import Store
from gateway.spool.worker import SpoolWorker

NO_GRACE = Grace()


def draft(number: int, *, samples: int = 3, stream: Stream = Stream.SAMPLES) -> RecordDraft:
    rows = np.zeros(samples, SAMPLE)
    rows["row"] = number
    rows["value"] = np.arange(samples) + number
    return RecordDraft(stream, number, number + 1, rows)


def encode(record: RecordDraft) -> bytes:
    """Columns, as the engine's encoder writes them, without names."""
    rows: Any = record.rows
    columns = {name: rows[name].tolist() for name in ("row", "quality", "source_ns", "value")}
    return msgspec.json.encode({"kind": str(record.stream), "first_ns": record.first_ns, **columns})


def envelope(identity: Identity, body: bytes) -> bytes:
    front = msgspec.json.encode(
        {
            "gateway": identity.gateway,
            "stream": identity.stream,
            "segment": identity.segment,
            "sequence": identity.sequence,
        }
    )
    return front[:-1] + b"," + body[1:]


def encoded(number: int, *, stream: Stream = Stream.SAMPLES, samples: int = 10, size: int = 0) -> Encoded:
    """A record whose body, compressed, has `size` bytes and a little more."""
    body = b'{"n":%d}' % number + np.random.default_rng(number).bytes(size)
    return Encoded(stream, number, number + 1, samples, compress(body))


def wait_until(condition: Callable[[], bool], *, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come about in time"
        time.sleep(0.005)


@contextmanager
def running_spool(
    path: Path,
    events: list[Event],
    *,
    bytes_max: int = 1 << 30,
    queue_max: int = 1024,
    segments_max: int = 64,
    grace: Grace = NO_GRACE,
    encode: Callable[[RecordDraft], bytes] = encode,
) -> Iterator[SpoolWorker]:
    store = Store(path, bytes_max=bytes_max, segments_max=segments_max, grace=grace)
    spool = SpoolWorker(store=store, encode=encode, now_ns=time.time_ns, emit=events.append, queue_max=queue_max)
    spool.start()
    try:
        yield spool
    finally:
        assert spool.stop(10.0)


def value_of(spool: SpoolWorker, name: str) -> float:
    """The sum of a reading over its labels."""
    return sum(getattr(reading, "value", 0.0) for reading in spool.readings() if reading.name == name)

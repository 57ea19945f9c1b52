"""What the spool's benchmark stores, and what encodings cost: JSON as it is sent, MessagePack, shuffled columns.

A thousand tags of ten devices, polled every 100 ms: a device's tags share their time, values are random walks in steps
of a hundredth, as instruments with a fixed resolution give them. Noise in the last bits would not compress, and would
not be a measurement.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
import numpy as np
import zstandard

from gateway.core.encode import TimeQuality, encode
from gateway.core.limits import RECORD_SAMPLES_MAX
from gateway.core.record import RecordDraft, Stream
from gateway.core.symbols import no_texts
from gateway.core.types import NS_PER_MS, SAMPLE, Kind, Quality, Samples
from gateway.spool.records import ZSTD_LEVEL

TAGS = 1_000
DEVICES = 10
POLL_NS = 100 * NS_PER_MS
STEP = 0.01
COLUMNS = ("row", "source_ns", "value", "quality")
NAMES = tuple(f"d{tag * DEVICES // TAGS}.t{tag}" for tag in range(TAGS))
KINDS = (Kind.F64,) * TAGS
ROUNDS = 15


def batches(count: int) -> list[Samples]:
    """Records of RECORD_SAMPLES_MAX samples that follow on one another."""
    rng = np.random.default_rng(1)
    polls = -(-count * RECORD_SAMPLES_MAX // TAGS)
    walks = np.cumsum(rng.integers(-2, 3, (polls, TAGS)), axis=0)
    samples: Samples = np.zeros(polls * TAGS, SAMPLE)
    samples["row"] = np.tile(np.arange(TAGS), polls)
    samples["value"] = (5_000 + walks.ravel()) * STEP
    jitter = rng.integers(0, NS_PER_MS, (polls, DEVICES))
    starts = 1_700_000_000 * 1_000 * NS_PER_MS + np.arange(polls)[:, None] * POLL_NS + jitter
    samples["source_ns"] = np.repeat(starts.ravel(), TAGS // DEVICES)
    samples["arrival_ns"] = samples["source_ns"]
    samples["quality"] = Quality.GOOD
    return [samples[at * RECORD_SAMPLES_MAX : (at + 1) * RECORD_SAMPLES_MAX].copy() for at in range(count)]


def as_sent(batch: Samples, number: int | None = None) -> bytes:
    """The body that goes upstream; a number in the place of its first time, to know it again by."""
    first_ns = int(batch["source_ns"][0]) if number is None else number
    draft = RecordDraft(Stream.SAMPLES, first_ns, int(batch["source_ns"][-1]), batch)
    return encode(draft, NAMES, KINDS, text_of=no_texts, wall_offset_ns=0, time_quality=TimeQuality.SYNCED)


def as_msgpack(batch: Samples) -> bytes:
    return msgspec.msgpack.encode({name: batch[name].tolist() for name in COLUMNS})


def as_columns(batch: Samples) -> bytes:
    """Times as differences; of each column all first bytes, then all second bytes, and so on."""
    shuffled = []
    for name in COLUMNS:
        column = np.ascontiguousarray(batch[name])
        if name == "source_ns":
            column = np.diff(column, prepend=0)
        shuffled.append(column.view(np.uint8).reshape(len(batch), -1).T.tobytes())
    return b"".join(shuffled)


ENCODINGS: dict[str, Callable[[Samples], bytes]] = {
    "json_as_sent": as_sent,
    "msgpack": as_msgpack,
    "shuffled_columns": as_columns,
}


def encoding_costs(records: list[Samples]) -> dict[str, dict[str, float]]:
    """Per encoding: time and bytes a sample; interleaved, medians over records."""
    compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL)
    taken: dict[str, list[tuple[int, int, int, int]]] = {name: [] for name in ENCODINGS}
    for batch in (records * ROUNDS)[:ROUNDS]:
        for name, encoding in ENCODINGS.items():
            started_ns = time.perf_counter_ns()
            body = encoding(batch)
            encoded_ns = time.perf_counter_ns()
            packed = compressor.compress(body)
            packed_ns = time.perf_counter_ns()
            taken[name].append((encoded_ns - started_ns, packed_ns - encoded_ns, len(body), len(packed)))
    titles = ("encode_ns_per_sample", "zstd_ns_per_sample", "bytes_per_sample", "zstd_bytes_per_sample")
    return {
        name: {
            title: round(float(np.median([row[place] for row in rows])) / RECORD_SAMPLES_MAX, 2)
            for place, title in enumerate(titles)
        }
        for name, rows in taken.items()
    }

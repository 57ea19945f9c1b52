"""What the spool tells of itself: the table of its metrics, and the store as other threads see it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from gateway.core.readings import Labels, Reading
from gateway.spool import pressing
from gateway.spool.store import Store

METRICS: tuple[tuple[str, str, str], ...] = (
    *pressing.METRICS,
    ("fieldgate_spool_produced_records_total", "counter", "Records that were given an identity."),
    ("fieldgate_spool_acknowledged_records_total", "counter", "Records that arrived upstream."),
    ("fieldgate_spool_rejected_records_total", "counter", "Records that upstream refused for ever."),
    ("fieldgate_spool_dropped_records_total", "counter", "Records dropped and written into the loss ledger."),
    ("fieldgate_spool_dropped_samples_total", "counter", "Samples in the records dropped."),
    ("fieldgate_spool_dead_letters_deleted_total", "counter", "Dead letters deleted to keep within their limit."),
    ("fieldgate_spool_segments_kept_open_total", "counter", "Outages that went on in a segment: too many waiting."),
    ("fieldgate_spool_unavailable_total", "counter", "Transactions that failed: disk full, or input/output error."),
    ("fieldgate_spool_backfill_failures_total", "counter", "Times that the log could not be written into the file."),
    ("fieldgate_spool_available", "gauge", "1 while the store takes records."),
    ("fieldgate_spool_bytes", "gauge", "Bytes of the records that wait."),
    ("fieldgate_spool_limit_bytes", "gauge", "Bytes at which the oldest records are dropped."),
    ("fieldgate_spool_records", "gauge", "Records that wait to be acknowledged."),
    ("fieldgate_spool_kept_bytes", "gauge", "Bytes of acknowledged records that are kept for their grace."),
    ("fieldgate_spool_queue_drafts", "gauge", "Drafts that wait to be stored."),
    ("fieldgate_spool_segments", "gauge", "Segments by state."),
    ("fieldgate_spool_oldest_age_seconds", "gauge", "Age of the oldest record that is not acknowledged."),
    ("fieldgate_spool_commit_seconds", "histogram", "Time that a transaction took to reach the disk."),
)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The store as it stood after the last transaction, for other threads."""

    records: int = 0
    bytes: int = 0
    kept_bytes: int = 0
    segments_open: int = 0
    segments_closed: int = 0
    oldest_ns: tuple[int, ...] = ()
    counts: dict[tuple[str, ...], int] = field(default_factory=dict)

    def readings(self, whose: Labels = ()) -> Iterator[Reading]:
        for what, count in self.counts.items():
            labels = tuple(zip(("stream", "reason"), what[1:], strict=False))
            yield Reading(f"fieldgate_spool_{what[0]}_total", count, (*labels, *whose))
        yield Reading("fieldgate_spool_bytes", self.bytes, whose)
        yield Reading("fieldgate_spool_kept_bytes", self.kept_bytes, whose)
        yield Reading("fieldgate_spool_records", self.records, whose)
        yield Reading("fieldgate_spool_segments", self.segments_open, (("state", "open"), *whose))
        yield Reading("fieldgate_spool_segments", self.segments_closed, (("state", "closed"), *whose))


def look(store: Store) -> Snapshot:
    totals = store.totals
    opened, closed = store.segments()
    oldest_ns, counts = store.oldest_ns(), dict(store.counts)
    return Snapshot(totals.records, totals.bytes, totals.kept_bytes, opened, closed, oldest_ns, counts)

"""What a simulated gateway put out, as a digest, and what its process takes."""

from __future__ import annotations

import hashlib
import os
import threading
from dataclasses import dataclass
from pathlib import Path

from gateway.core.encode import Encoder
from gateway.core.record import RecordDraft, Stream
from gateway.runtime import garbage

DIGESTED = (Stream.SAMPLES, Stream.AGGREGATES, Stream.CALCULATIONS)
"""What follows from the script to the byte. Events are also of links, which take the time that they take."""
OUTPUTS_REMEMBERED = 2_000
"""More than a crash has made again."""


@dataclass(frozen=True)
class Figures:
    """Of one day. `counts` is of records, crashes and reloads since the start, `disk` bytes by what has a cap."""

    day: str
    took_s: float
    rss_bytes: int
    engine_bytes: int
    descriptors: int
    threads: int
    counts: dict[str, int]
    disk: dict[str, int]

    @classmethod
    def now(cls, day: str, took_s: float, engine_bytes: int, disk: dict[str, int], counts: dict[str, int]) -> Figures:
        garbage.tidy()  # as the gateway does after a reload
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        descriptors = sum(1 for _ in Path("/proc/self/fd").iterdir())
        rss_bytes = pages * os.sysconf("SC_PAGE_SIZE")
        return cls(day, took_s, rss_bytes, engine_bytes, descriptors, threading.active_count(), counts, disk)

    def __str__(self) -> str:
        counts = " ".join(f"{name} {count}" for name, count in self.counts.items())
        files = " ".join(f"{name} {size / 1e6:.1f}" for name, size in self.disk.items())
        return (
            f"{self.day} {self.took_s:5.0f} s: {counts}; rss {self.rss_bytes / 1e6:.1f} MB, engine"
            f" {self.engine_bytes / 1e6:.2f} MB, {self.descriptors} descriptors, {self.threads} threads; MB: {files}"
        )


class Outputs:
    """The digest of all that the engine put out. What a replay puts out again must be the same."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._seen: dict[tuple[str, int], bytes] = {}

    def take(self, drafts: tuple[RecordDraft, ...], encoder: Encoder) -> None:
        for draft in (draft for draft in drafts if draft.stream in DIGESTED):
            body = hashlib.blake2b(encoder(draft), digest_size=8).digest()
            before = self._seen.setdefault((draft.stream, draft.ordinal), body)
            assert before == body, f"{draft.stream} {draft.ordinal} came out otherwise the second time"
            if before is body:
                self._hash.update(draft.stream.encode() + draft.ordinal.to_bytes(8, "little") + body)
        while len(self._seen) > OUTPUTS_REMEMBERED:
            del self._seen[next(iter(self._seen))]

    def hexdigest(self) -> str:
        return self._hash.hexdigest()

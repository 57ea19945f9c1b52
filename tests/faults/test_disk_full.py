"""The spool on a file system that is really full (a small tmpfs; needs root)."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from gateway.core.events import Event
from tests.support.spool import draft, running_spool, value_of, wait_until


def test_a_full_disk_costs_only_what_the_ledger_says(small_disk: Path) -> None:
    events: list[Event] = []
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1_200_000))
    put = 0
    with running_spool(small_disk / "spool.db", events, queue_max=30) as spool:
        deadline = time.monotonic() + 20
        while not value_of(spool, "fieldgate_spool_unavailable_total"):
            assert time.monotonic() < deadline
            spool.put(draft(put, samples=8_000))
            put += 1
            wait_until(lambda: len(spool._queue) < 20 or value_of(spool, "fieldgate_spool_available") == 0)
        for _ in range(100):
            spool.put(draft(put, samples=8_000))
            put += 1
        ballast.unlink()
        wait_until(lambda: value_of(spool, "fieldgate_spool_available") == 1)
    kinds = [event.kind for event in events if event.kind.startswith("spool.")]
    assert kinds[:2] == ["spool.unavailable", "spool.available"]
    with closing(sqlite3.connect(small_disk / "spool.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        (stored,) = connection.execute("SELECT count(*) FROM records").fetchone()
        (dropped,) = connection.execute("SELECT coalesce(sum(records), 0) FROM ledger").fetchone()
    assert dropped > 0
    assert stored + dropped == put

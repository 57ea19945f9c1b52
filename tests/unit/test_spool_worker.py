"""The spool thread: bounded, grouped, and patient with a disk that is full."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.core.events import Event
from gateway.core.record import RecordDraft, Stream
from gateway.core.segments import KIND_LEDGER
from gateway.spool.records import Lane
from gateway.spool.store import Store
from gateway.spool.worker import SpoolStopped, SpoolWorker
from tests.support.spool import draft, encode, running_spool, value_of, wait_until


def test_what_is_put_can_be_sent_byte_for_byte(tmp_path: Path) -> None:
    with running_spool(tmp_path / "spool.db", []) as spool:
        drafts = [draft(n) for n in range(5)]
        for each in drafts:
            spool.put(each)

        async def fetch() -> list[bytes]:
            await spool.flush()
            return [record.body for record in await spool.next_records(Lane.LIVE, {}, 10)]

        assert asyncio.run(fetch()) == [encode(each) for each in drafts]


def test_a_stop_stores_what_is_queued(tmp_path: Path) -> None:
    with running_spool(tmp_path / "spool.db", []) as spool:
        for number in range(200):
            spool.put(draft(number))
    (count,) = sqlite3.connect(tmp_path / "spool.db").execute("SELECT count(*) FROM records").fetchone()
    assert count == 200


def test_drafts_put_together_are_stored_in_few_transactions(tmp_path: Path) -> None:
    with running_spool(tmp_path / "spool.db", []) as spool:
        for number in range(50):
            spool.put(draft(number))
        wait_until(lambda: value_of(spool, "fieldgate_spool_records") == 50)
        (commits,) = (r for r in spool.readings() if r.name == "fieldgate_spool_commit_seconds")
        assert commits.counts[:-1].sum() <= 4  # type: ignore[union-attr]


def held_up(folder: Path) -> tuple[SpoolWorker, threading.Event]:
    """A spool with room for ten drafts that is busy with a record of events until the gate is opened."""
    gate = threading.Event()

    def slow_encode(record: RecordDraft) -> bytes:
        gate.wait(10)
        return encode(record)

    store = Store(folder / "spool.db", bytes_max=1 << 30)
    spool = SpoolWorker(store=store, encode=slow_encode, now_ns=lambda: 7, emit=lambda event: None, queue_max=10)
    spool.start()
    spool.put(draft(0, stream=Stream.EVENTS))
    wait_until(lambda: value_of(spool, "fieldgate_spool_queue_drafts") == 0)
    return spool, gate


def test_an_overflowing_queue_drops_the_lowest_priority_and_ledgers_it(tmp_path: Path) -> None:
    spool, gate = held_up(tmp_path)
    for number in range(1, 21):
        spool.put(draft(number, stream=Stream.SAMPLES))
    for number in range(21, 24):
        spool.put(draft(number, stream=Stream.EVENTS))
    gate.set()
    assert spool.stop(10.0)
    with closing(sqlite3.connect(tmp_path / "spool.db")) as connection:
        stored = dict(connection.execute("SELECT stream, count(*) FROM records GROUP BY stream"))
        ledger = connection.execute(
            "SELECT stream, segment, records, samples, first_ns, reason FROM ledger WHERE records"
        ).fetchall()
    assert stored == {"events": 4, "samples": 7}
    assert ledger == [("samples", None, 13, 39, 1, "queue full")]
    assert value_of(spool, "fieldgate_spool_dropped_records_total") == 13


def test_what_the_queue_had_no_room_for_is_not_made_again_by_a_replay(tmp_path: Path) -> None:
    spool, gate = held_up(tmp_path)
    for ordinal in range(1, 4):
        spool.put(replace(draft(ordinal, stream=Stream.SAMPLES), ordinal=ordinal))
    for number in range(4, 14):
        spool.put(draft(number, stream=Stream.EVENTS))
    gate.set()
    assert spool.stop(10.0)
    with closing(sqlite3.connect(tmp_path / "spool.db")) as connection:
        assert connection.execute("SELECT stream, ordinal FROM outputs").fetchall() == [("samples", 3)]
        assert connection.execute("SELECT records FROM ledger WHERE records").fetchall() == [(3,)]


def test_losses_are_reported_upstream_once_the_link_is_up(tmp_path: Path) -> None:
    with running_spool(tmp_path / "spool.db", [], bytes_max=3_000) as spool:

        async def scenario() -> list[bytes]:
            for number in range(40):
                spool.put(draft(number))
                await spool.flush()
            before = await spool.next_records(Lane.LIVE, {}, 100)
            assert not any(record.key.stream == "events" for record in before)
            spool.note_link(True)
            while True:
                records = await spool.next_records(Lane.LIVE, {}, 100)
                records += await spool.next_records(Lane.BACKLOG, {}, 100)
                bodies = [record.body for record in records if KIND_LEDGER.encode() in record.body]
                if bodies:
                    return bodies
                await asyncio.sleep(0.02)

        (report,) = asyncio.run(asyncio.wait_for(scenario(), 10))
        assert b'"reason":"spool full"' in report
        assert b'"from_sequence":1' in report


def test_a_link_that_comes_up_closes_the_segments_that_wait(tmp_path: Path) -> None:
    with running_spool(tmp_path / "spool.db", []) as spool:

        async def scenario() -> tuple[list[int], list[int]]:
            spool.put(draft(1))
            await spool.flush()
            spool.note_link(True)
            await spool.next_records(Lane.LIVE, {}, 10)
            spool.put(draft(2))
            await spool.flush()
            backlog = await spool.next_records(Lane.BACKLOG, {}, 10)
            live = await spool.next_records(Lane.LIVE, {}, 10)
            assert backlog[0].key.segment + 1 == live[0].key.segment
            return [r.key.sequence for r in backlog], [r.key.sequence for r in live]

        assert asyncio.run(scenario()) == ([1, 2], [1])


def test_acknowledged_records_are_deleted_and_the_age_falls_to_nothing(tmp_path: Path) -> None:
    with running_spool(tmp_path / "spool.db", []) as spool:
        spool.put(draft(1))
        wait_until(lambda: spool.depth() == 1 and spool.oldest_age_s() > 0)

        async def arrive() -> None:
            spool.acknowledge([record.key for record in await spool.next_records(Lane.LIVE, {}, 10)])

        asyncio.run(arrive())
        wait_until(lambda: spool.depth() == 0)
        assert spool.oldest_age_s() == 0
        assert value_of(spool, "fieldgate_spool_acknowledged_records_total") == 1


def test_a_draft_that_is_about_to_be_stored_waits_like_any_other(tmp_path: Path) -> None:
    spool, gate = held_up(tmp_path)
    assert spool.depth() >= 1
    gate.set()
    assert spool.stop(10.0)
    assert spool.depth() == 1


def test_meta_is_stored_within_the_second(tmp_path: Path) -> None:
    with running_spool(tmp_path / "spool.db", []) as spool:
        spool.write_meta("engine_ns", "77")
        reader = sqlite3.connect(tmp_path / "spool.db")
        wait_until(lambda: reader.execute("SELECT value FROM meta").fetchall() == [("77",)], seconds=5)
        reader.close()


def test_asking_a_spool_that_stopped_is_refused(tmp_path: Path) -> None:
    with running_spool(tmp_path / "spool.db", []) as spool:
        pass
    with pytest.raises(SpoolStopped):
        asyncio.run(spool.next_records(Lane.LIVE, {}, 1))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_dies_says_of_what_and_leaves_nobody_waiting(tmp_path: Path) -> None:
    died: list[tuple[str, BaseException]] = []

    def unfit(record: RecordDraft) -> bytes:
        raise ZeroDivisionError("nobody foresaw this")

    spool = SpoolWorker(
        store=Store(tmp_path / "spool.db", bytes_max=1 << 30), encode=unfit, now_ns=lambda: 7, emit=lambda event: None
    )
    spool.died = lambda thread, error: died.append((thread, error))

    async def scenario() -> None:
        spool.put(draft(1))
        asked = [asyncio.ensure_future(spool.flush()) for _ in range(3)]
        await asyncio.sleep(0)
        spool.start()
        for each in await asyncio.gather(*asked, return_exceptions=True):
            assert isinstance(each, SpoolStopped)

    asyncio.run(asyncio.wait_for(scenario(), 10))
    assert spool.stop(10.0)
    ((thread, error),) = died
    assert (thread, str(error)) == ("spool", "nobody foresaw this")
    assert spool.has_room(), "nobody waits for room that nobody makes"


def test_a_full_disk_is_said_once_and_got_over_without_help(tmp_path: Path) -> None:
    events: list[Event] = []
    store = Store(tmp_path / "spool.db", bytes_max=1 << 30)
    (pages,) = store.connection.execute("PRAGMA page_count").fetchone()
    store.connection.execute(f"PRAGMA max_page_count = {pages + 10}")
    spool = SpoolWorker(store=store, encode=encode, now_ns=lambda: 7, emit=events.append, queue_max=50)
    spool.start()

    put = 0
    while value_of(spool, "fieldgate_spool_available"):
        for _ in range(20):
            spool.put(draft(put, samples=400))
            put += 1
        wait_until(lambda: len(spool._queue) == 0 or not value_of(spool, "fieldgate_spool_available"))
    for _ in range(200):
        spool.put(draft(put, samples=400))
        put += 1
    wait_until(lambda: value_of(spool, "fieldgate_spool_unavailable_total") >= 2)
    assert value_of(spool, "fieldgate_spool_queue_drafts") <= 50
    spool._post(lambda: store.connection.execute("PRAGMA max_page_count = 1000000") and None)
    wait_until(lambda: value_of(spool, "fieldgate_spool_available") == 1)
    wait_until(lambda: value_of(spool, "fieldgate_spool_queue_drafts") == 0)
    assert spool.stop(10)
    kinds = [event.kind for event in events if event.kind.startswith("spool.")]
    assert kinds == ["spool.unavailable", "spool.available"]
    assert "the disk is full" in events[0].message
    with closing(sqlite3.connect(tmp_path / "spool.db")) as connection:
        (stored,) = connection.execute("SELECT count(*) FROM records").fetchone()
        (dropped,) = connection.execute("SELECT sum(records) FROM ledger").fetchone()
    assert dropped > 0
    assert stored + dropped == put

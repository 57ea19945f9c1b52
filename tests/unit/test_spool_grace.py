"""Acknowledged records: kept for their grace, first to make room, and sent again when somebody asks."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.core.segments import SEGMENTS_PER_EPOCH
from gateway.spool import schema
from gateway.spool.records import Grace, Key, Lane, compress
from gateway.spool.store import Store
from gateway.spool.view import State, ask_again, view
from tests.support.spool import encoded

EPOCH = 7
FIRST = EPOCH * SEGMENTS_PER_EPOCH
STREAMS = ["samples"]


def opened(path: Path, *, bytes_max: int = 1 << 30, grace: Grace) -> Store:
    return Store(path, bytes_max=bytes_max, grace=grace, epoch=lambda: EPOCH)


def kept(path: Path) -> list[int]:
    with view(path) as seen:
        return [row.sequence for row in seen.rows(State.KEPT, STREAMS)]


def test_an_acknowledged_record_is_not_sent_again_and_stays_until_its_grace_is_over(tmp_path: Path) -> None:
    store = opened(tmp_path / "spool.db", grace=Grace(ns=100, bytes_max=1 << 20))
    keys = store.append([encoded(1), encoded(2)], 0)
    store.acknowledge(keys[:1], now_ns=50)
    assert [record.key for record in store.next_records(Lane.LIVE, {}, 10)] == keys[1:]
    assert (store.totals.records, store.totals.kept_records) == (1, 1)
    store.expire(149)
    assert kept(store.path) == [1]
    store.expire(150)
    assert kept(store.path) == []
    assert store.totals.kept_bytes == 0
    store.close()


def test_kept_records_stay_within_their_bytes_the_longest_acknowledged_going_first(tmp_path: Path) -> None:
    store = opened(tmp_path / "spool.db", grace=Grace(ns=10**9, bytes_max=5_000))
    for number, key in enumerate(store.append([encoded(n, size=1_000) for n in range(10)], 0)):
        store.acknowledge([key], now_ns=number)
    assert kept(store.path) == [7, 8, 9, 10]
    assert store.totals.kept_bytes <= 5_000
    store.close()


def test_kept_records_make_room_before_anything_that_waits_is_lost(tmp_path: Path) -> None:
    store = opened(tmp_path / "spool.db", bytes_max=13_500, grace=Grace(ns=10**9, bytes_max=1 << 20))
    store.acknowledge(store.append([encoded(n, size=1_000) for n in range(5)], 0), now_ns=1)
    store.append([encoded(n, size=1_000) for n in range(8)], 2)
    assert store.losses() == []
    assert store.totals.records == 8
    assert 0 < store.totals.kept_records < 5
    store.append([encoded(n, size=1_000) for n in range(5)], 3)
    assert store.totals.kept_records == 0
    assert sum(loss.records for loss in store.losses()) == 13 - store.totals.records > 0
    store.close()


def test_totals_are_the_same_after_opening_again(tmp_path: Path) -> None:
    grace = Grace(ns=10**9, bytes_max=1 << 20)
    store = opened(tmp_path / "spool.db", grace=grace)
    store.acknowledge(store.append([encoded(n) for n in range(3)], 0)[:2], now_ns=1)
    before = store.totals
    store.close()
    again = opened(tmp_path / "spool.db", grace=grace)
    (end,) = [record for record in again.next_records(Lane.BACKLOG, {}, 9) if b"segment-end" in record.body]
    assert (again.totals.kept_records, again.totals.kept_bytes) == (before.kept_records, before.kept_bytes)
    assert again.totals.records == before.records + 1, end
    again.close()


def test_what_somebody_asked_for_is_handed_out_again_byte_for_byte_until_it_is_acknowledged(tmp_path: Path) -> None:
    store = opened(tmp_path / "spool.db", grace=Grace(ns=10**9, bytes_max=1 << 20))
    keys = store.append([encoded(n) for n in range(4)], 0)
    bodies = {record.key: record.body for record in store.next_records(Lane.LIVE, {}, 9)}
    store.acknowledge(keys, now_ns=1)
    assert ask_again(store.path, [keys[2], keys[1], Key("samples", FIRST, 99)]) == 2
    again = store.next_records(Lane.AGAIN, {}, 9)
    assert [record.key for record in again] == [keys[1], keys[2]]
    assert all(record.body == bodies[record.key] and record.is_asked for record in again)
    assert store.next_records(Lane.LIVE, {}, 9) == []
    store.acknowledge([keys[1]], now_ns=2)
    assert [record.key for record in store.next_records(Lane.AGAIN, {}, 9)] == [keys[2]]
    assert store.counts["acknowledged_records", "samples"] == 4
    store.expire(10**9 + 2)
    assert store.next_records(Lane.AGAIN, {}, 9) == []
    store.close()


def test_the_length_of_a_segment_that_is_done_is_remembered(tmp_path: Path) -> None:
    store = opened(tmp_path / "spool.db", grace=Grace())
    store.append([encoded(1), encoded(2)], 0)
    store.close_waiting_segments()
    store.acknowledge([record.key for record in store.next_records(Lane.BACKLOG, {}, 9)], now_ns=1)
    assert store.segments() == (0, 0)
    with view(store.path) as seen:
        ((stream, segment, state, given),) = seen.segments()
    assert (stream, segment, state, given) == ("samples", FIRST, "done", 3)
    store.close()


def test_kept_records_have_a_limit_in_number_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.spool.grace.SPOOL_KEPT_RECORDS_MAX", 3)
    store = opened(tmp_path / "spool.db", grace=Grace(ns=10**9, bytes_max=1 << 20))
    for number, key in enumerate(store.append([encoded(n) for n in range(6)], 0)):
        store.acknowledge([key], now_ns=number)
    assert kept(store.path) == [4, 5, 6]
    assert store.totals.kept_records == 3
    store.close()


def test_the_oldest_that_waits_is_found_behind_what_is_kept_and_after_everything_arrived(tmp_path: Path) -> None:
    store = opened(tmp_path / "spool.db", grace=Grace(ns=10**9, bytes_max=1 << 20))
    assert store.oldest_ns() == ()
    keys = [store.append([encoded(1)], now_ns)[0] for now_ns in (6, 7, 8, 9)]
    assert store.oldest_ns() == (6,)
    store.acknowledge([keys[1]], now_ns=10)
    assert store.oldest_ns() == (6,)
    store.acknowledge([keys[0]], now_ns=11)
    assert store.oldest_ns() == (8,)
    store.acknowledge(keys[2:], now_ns=12)
    assert store.oldest_ns() == ()
    store.append([encoded(1)], 21)
    assert store.oldest_ns() == (21,)
    store.close()


def test_a_file_of_the_first_schema_opens_with_all_that_waits_and_grows_the_new_tables(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    with monkeypatched_migrations(1):
        old = sqlite3.connect(path, isolation_level=None)
        schema.migrate(old, path, lambda: EPOCH)
        body = compress(b'{"n":1}')
        old.execute("INSERT INTO segments VALUES ('samples', ?, 'open', 3, NULL)", (FIRST,))
        for sequence in (1, 2):
            old.execute(
                "INSERT INTO records (stream, segment, sequence, priority, first_ns, last_ns, samples, bytes, body)"
                " VALUES ('samples', ?, ?, 2, 1, 2, 10, ?, ?)",
                (FIRST, sequence, len(body), body),
            )
        old.close()
    store = opened(path, grace=Grace(ns=10**9, bytes_max=1 << 20))
    backlog = store.next_records(Lane.BACKLOG, {}, 9)
    assert [record.key.sequence for record in backlog] == [1, 2, 3]
    assert backlog[0].body == b'{"n":1}'
    store.acknowledge([record.key for record in backlog], now_ns=1)
    assert kept(path) == [1, 2, 3]
    store.close()


@contextmanager
def monkeypatched_migrations(count: int) -> Iterator[None]:
    """An older fieldgate."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:count])
        yield

"""The store on a real SQLite file: identities, segments, the cap and the loss ledger."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.core.limits import DEAD_LETTERS_MAX
from gateway.core.record import Stream
from gateway.core.segments import SEGMENTS_PER_EPOCH
from gateway.spool.records import Key, Lane, StoreRefused, StoreUnavailable
from gateway.spool.store import Store
from tests.support.spool import encoded

EPOCH = 7
FIRST = EPOCH * SEGMENTS_PER_EPOCH
PLENTY = 1 << 30


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    store = Store(path, bytes_max=PLENTY, epoch=lambda: EPOCH)
    yield store
    store.close()


def waiting(store: Store, lane: Lane = Lane.LIVE) -> list[Key]:
    return [record.key for record in store.next_records(lane, {}, 1_000)]


def test_identities_are_gapless_within_a_segment_and_separate_by_stream(store: Store) -> None:
    first = store.append([encoded(1), encoded(2), encoded(3, stream=Stream.EVENTS)], 0)
    second = store.append([encoded(4)], 0)
    assert first == [("samples", FIRST, 1), ("samples", FIRST, 2), ("events", FIRST, 1)]
    assert second == [("samples", FIRST, 3)]


def test_a_new_run_speaks_in_a_new_segment_and_the_old_one_states_its_length(store: Store, path: Path) -> None:
    store.append([encoded(1), encoded(2)], 0)
    store.close()
    again = Store(path, bytes_max=PLENTY)
    assert again.append([encoded(3)], 0) == [("samples", FIRST + 1, 1)]
    backlog = again.next_records(Lane.BACKLOG, {}, 10)
    assert [record.key for record in backlog] == [("samples", FIRST, n) for n in (1, 2, 3)]
    assert backlog[-1].body == b'{"record":"segment-end","length":3,"format":"fieldgate-record-1"}'
    again.close()


def test_a_segment_whose_records_all_arrived_still_tells_its_end_after_a_restart(store: Store, path: Path) -> None:
    store.acknowledge(store.append([encoded(1)], 0), 0)
    store.close()
    again = Store(path, bytes_max=PLENTY)
    (end,) = again.next_records(Lane.BACKLOG, {}, 10)
    assert end.key.sequence == 2
    assert end.body == b'{"record":"segment-end","length":2,"format":"fieldgate-record-1"}'
    again.acknowledge([end.key], 0)
    assert again.segments() == (0, 0)
    again.close()


def test_a_store_made_anew_does_not_give_the_identities_of_its_predecessor(tmp_path: Path) -> None:
    segments = set()
    for name in ("one.db", "two.db"):
        store = Store(tmp_path / name, bytes_max=PLENTY)
        segments.add(store.append([encoded(1)], 0)[0].segment)
        store.close()
    assert len(segments) == 2


def test_a_transaction_that_fails_gives_no_identity_away(store: Store) -> None:
    store.append([encoded(1)], 0)
    with pytest.raises(KeyboardInterrupt), store.transaction():
        store.append([encoded(2), encoded(3)], 0)
        raise KeyboardInterrupt
    assert store.append([encoded(4)], 0) == [("samples", FIRST, 2)]
    assert store.totals.records == 2
    assert store.counts["produced_records", "samples"] == 2


def test_only_segments_with_unacknowledged_records_are_closed(store: Store) -> None:
    store.append([encoded(1)], 0)
    arrived = store.append([encoded(2, stream=Stream.EVENTS)], 0)
    store.acknowledge(arrived, 0)
    assert store.close_waiting_segments() == 1
    assert store.append([encoded(3), encoded(4, stream=Stream.EVENTS)], 0) == [
        ("samples", FIRST + 1, 1),
        ("events", FIRST, 2),
    ]
    assert waiting(store, Lane.BACKLOG) == [("samples", FIRST, 1), ("samples", FIRST, 2)]


def test_at_the_limit_of_segments_an_outage_goes_on_in_the_one_it_has(path: Path) -> None:
    store = Store(path, bytes_max=PLENTY, segments_max=2, epoch=lambda: EPOCH)
    for number in range(4):
        store.append([encoded(number)], 0)
        store.close_waiting_segments()
    assert store.segments() == (1, 2)
    assert waiting(store) == [("samples", FIRST + 2, 1), ("samples", FIRST + 2, 2)]
    store.close()
    store = Store(path, bytes_max=PLENTY, segments_max=2)
    assert store.append([encoded(9)], 0) == [("samples", FIRST + 2, 3)]
    store.close()


def test_records_are_handed_out_behind_a_position_and_urgent_streams_first(store: Store) -> None:
    store.append([encoded(n, stream=stream) for n in range(3) for stream in (Stream.SAMPLES, Stream.EVENTS)], 0)
    first = store.next_records(Lane.LIVE, {}, 4)
    assert [(record.key.stream, record.key.sequence) for record in first] == [
        ("events", 1),
        ("events", 2),
        ("events", 3),
        ("samples", 1),
    ]
    after = {"events": (FIRST, 3), "samples": (FIRST, 1)}
    assert [record.key.sequence for record in store.next_records(Lane.LIVE, after, 4)] == [2, 3]


def test_bodies_come_back_byte_for_byte(store: Store) -> None:
    store.append([encoded(41)], 0)
    assert [record.body for record in store.next_records(Lane.LIVE, {}, 1)] == [b'{"n":41}']


def test_the_cap_drops_the_oldest_of_the_lowest_priority_and_writes_it_down(path: Path) -> None:
    store = Store(path, bytes_max=10_000, epoch=lambda: EPOCH)
    for number in range(30):
        streams = (Stream.SAMPLES, Stream.AGGREGATES, Stream.EVENTS)
        store.append([encoded(number, stream=stream, size=100) for stream in streams], now_ns=number)
    assert store.totals.bytes <= 10_000
    held = waiting(store)
    assert sum(key.stream == "events" for key in held) == 30
    assert sum(key.stream == "samples" for key in held) == 0
    oldest = min(key.sequence for key in held if key.stream == "aggregates")
    assert {(loss.stream, loss.from_sequence, loss.to_sequence, loss.records) for loss in store.losses()} == {
        ("samples", 1, 30, 30),
        ("aggregates", 1, oldest - 1, oldest - 1),
    }
    assert sum(loss.samples for loss in store.losses()) == 10 * (30 + oldest - 1)
    (count,) = sqlite3.connect(path).execute("SELECT count(*) FROM records").fetchone()
    assert count == len(held) == store.totals.records
    store.close()


def test_a_segment_end_outlives_the_cap(path: Path) -> None:
    store = Store(path, bytes_max=1_000, epoch=lambda: EPOCH)
    store.append([encoded(1, size=500)], 0)
    store.close_waiting_segments()
    store.append([encoded(2, size=800)], 0)
    assert waiting(store, Lane.BACKLOG) == [("samples", FIRST, 2)]
    store.close()


def test_a_loss_report_leaves_the_ledger_only_when_it_arrived(store: Store) -> None:
    store.bytes_max = 1_000
    store.append([encoded(n, size=300) for n in range(6)], 5)
    assert store.report_losses(6) == 1
    assert store.report_losses(7) == 0
    (report,) = (record for record in store.next_records(Lane.LIVE, {}, 10) if record.key.stream == "events")
    assert b'"from_sequence":1' in report.body
    assert len(store.losses()) == 1
    store.acknowledge([report.key], 0)
    assert store.losses() == []


def test_a_loss_report_that_is_refused_is_made_again_and_is_no_dead_letter(store: Store, path: Path) -> None:
    store.bytes_max = 1_000
    store.append([encoded(n, size=300) for n in range(6)], 5)
    store.report_losses(6)
    store.reject(Key("events", FIRST, 1), "too large", 7)
    assert store.report_losses(8) == 2
    assert [loss.reason for loss in store.losses()] == ["spool full", "rejected"]
    assert sqlite3.connect(path).execute("SELECT count(*) FROM dead_letters").fetchone() == (0,)


def test_a_rejected_record_is_kept_as_a_dead_letter_and_in_the_ledger(store: Store, path: Path) -> None:
    keys = store.append([encoded(n) for n in range(3)], 0)
    store.reject(keys[1], "too large", 99)
    assert [record.key for record in store.next_records(Lane.LIVE, {}, 10)] == [keys[0], keys[2]]
    assert [(loss.reason, loss.from_sequence, loss.to_sequence) for loss in store.losses()] == [("rejected", 2, 2)]
    letters = sqlite3.connect(path).execute("SELECT segment, sequence, reason, rejected_ns FROM dead_letters")
    assert letters.fetchall() == [(FIRST, 2, "too large", 99)]


def test_dead_letters_are_bounded(store: Store, path: Path) -> None:
    with store.transaction():
        for key in store.append([encoded(n) for n in range(DEAD_LETTERS_MAX + 5)], 0):
            store.reject(key, "too large", 1)
    (count,) = sqlite3.connect(path).execute("SELECT count(*) FROM dead_letters").fetchone()
    assert count == DEAD_LETTERS_MAX
    assert store.counts["dead_letters_deleted", "samples"] == 5


def test_totals_are_found_again_after_a_restart(store: Store, path: Path) -> None:
    store.append([encoded(n, size=50) for n in range(5)], 0)
    before = store.totals.bytes
    store.close()
    again = Store(path, bytes_max=PLENTY)
    assert again.totals.records == 6  # and the segment's end
    assert again.totals.bytes > before
    again.close()


def test_meta_survives(store: Store, path: Path) -> None:
    store.write_meta("engine_ns", "12")
    store.write_meta("engine_ns", "13")
    store.close()
    again = Store(path, bytes_max=PLENTY)
    assert (again.read_meta("engine_ns", "0"), again.read_meta("boot", "none")) == ("13", "none")
    again.close()


def test_a_file_from_a_newer_version_is_refused_with_a_remedy(store: Store, path: Path) -> None:
    store.close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreRefused, match=r"newer fieldgate \(schema 99, this one knows 6\); install"):
        Store(path, bytes_max=PLENTY)


def test_a_file_that_is_no_database_is_refused_with_a_remedy(path: Path) -> None:
    path.write_bytes(b"this is not a database " * 500)
    with pytest.raises(StoreRefused, match="salvage what is sound"):
        Store(path, bytes_max=PLENTY)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match=r"nowhere.*check that the state directory exists"):
        Store(tmp_path / "nowhere" / "spool.db", bytes_max=PLENTY)

"""The age limit: what has waited for too long is dropped, oldest first, and accounted for."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from gateway.core.events import Event
from gateway.core.record import Stream
from gateway.core.types import NS_PER_S
from gateway.spool.records import Encoded, Grace, Key, Lane
from gateway.spool.salvage import salvage
from gateway.spool.store import Store
from gateway.spool.worker import SpoolWorker
from tests.support.settings import EXAMPLE, examine_text
from tests.support.spool import draft, encode, encoded, value_of, wait_until
from tests.unit.test_spool_grace import monkeypatched_migrations

SEED = 20_261_126
DAY_NS = 86_400 * NS_PER_S
PLENTY = 1 << 30


def opened(path: Path, age_ns: int, *, grace: Grace | None = None) -> Store:
    store = Store(path, bytes_max=PLENTY, grace=grace or Grace(), goes_on=True)
    store.ageing.limit_ns = age_ns
    return store


def waiting(store: Store) -> list[Key]:
    return sorted(
        record.key for lane in (Lane.LIVE, Lane.BACKLOG) for record in store.next_records(lane, {}, 10_000)
    )  # fmt: skip


def ledgered(store: Store) -> list[Key]:
    return sorted(
        Key(loss.stream, loss.segment or 0, sequence)
        for loss in store.losses()
        for sequence in range(loss.from_sequence or 0, (loss.to_sequence or 0) + 1)
    )


def test_the_age_counts_from_the_storing_and_not_by_the_times_of_the_samples(tmp_path: Path) -> None:
    store = opened(tmp_path / "spool.db", DAY_NS)
    now_ns = 1_000 * DAY_NS
    body = encoded(1).body
    ancient = Encoded(Stream.SAMPLES, now_ns - 365 * DAY_NS, now_ns - 364 * DAY_NS, 3, body)
    ahead = Encoded(Stream.SAMPLES, now_ns + DAY_NS, now_ns + 2 * DAY_NS, 3, body)
    keys = store.append([ancient, ahead], now_ns)
    assert store.oldest_ns() == (now_ns,)
    store.expire(now_ns + DAY_NS)
    assert waiting(store) == keys
    store.expire(now_ns + DAY_NS + 1)
    assert waiting(store) == []
    (loss,) = store.losses()
    assert (loss.reason, loss.records, loss.samples) == ("expired", 2, 6)
    assert (loss.first_ns, loss.last_ns) == (ancient.first_ns, ahead.last_ns)
    assert store.counts["dropped_records", "samples", "expired"] == 2
    store.close()


def test_without_a_limit_nothing_is_too_old(tmp_path: Path) -> None:
    store = opened(tmp_path / "spool.db", 0)
    keys = store.append([encoded(1)], 1)
    store.expire(10_000 * DAY_NS)
    assert waiting(store) == keys
    store.close()


def test_what_is_kept_is_no_loss_and_the_end_of_a_segment_stays(tmp_path: Path) -> None:
    store = opened(tmp_path / "spool.db", DAY_NS, grace=Grace(10 * DAY_NS, PLENTY))
    keys = store.append([encoded(n) for n in range(4)], 0)
    store.acknowledge(keys[1:2], 1)
    store.close_waiting_segments()
    store.expire(2 * DAY_NS)
    assert ledgered(store) == [keys[0], *keys[2:]]
    assert [key.sequence for key in waiting(store)] == [5], "the receiver learns how long the segment was"
    assert store.totals.kept_records == 1
    store.acknowledge(waiting(store), 2 * DAY_NS)
    assert store.segments() == (0, 0)
    store.close()


def test_an_expiry_that_is_undone_is_done_later(tmp_path: Path) -> None:
    store = opened(tmp_path / "spool.db", DAY_NS)
    keys = store.append([encoded(n) for n in range(3)], 0)
    with pytest.raises(KeyboardInterrupt), store.transaction():
        store.expire(2 * DAY_NS)
        raise KeyboardInterrupt
    assert waiting(store) == keys
    assert ledgered(store) == []
    store.expire(2 * DAY_NS)
    assert ledgered(store) == keys
    store.close()


@pytest.mark.parametrize("seed", range(SEED, SEED + 8))
def test_every_record_has_one_fate_and_none_waits_for_longer_than_the_limit(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    path, limit_ns = tmp_path / "spool.db", DAY_NS
    store = opened(path, limit_ns, grace=Grace(chance.choice([0, DAY_NS]), PLENTY))
    made_ns: dict[Key, int] = {}
    arrived: set[Key] = set()
    now_ns = 1_000 * DAY_NS
    for _ in range(120):
        now_ns += chance.randrange(DAY_NS // 8)
        streams = [chance.choice(list(Stream)) for _ in range(chance.randrange(5))]
        for key in store.append([encoded(len(made_ns), stream=stream) for stream in streams], now_ns):
            made_ns[key] = now_ns
        if chance.random() < 0.3:
            some = [key for key in waiting(store) if chance.random() < 0.4]
            store.acknowledge(some, now_ns)
            arrived |= set(some) & set(made_ns)
        if chance.random() < 0.1:
            store.close_waiting_segments()
        if chance.random() < 0.1:
            store.close()
            store = opened(path, limit_ns)
        store.expire(now_ns)
        store.oldest_ns()
        for key in set(waiting(store)) & set(made_ns):
            assert now_ns - made_ns[key] <= limit_ns, f"seed {seed}: {key} waits"
    dropped = ledgered(store)
    left = set(waiting(store)) & set(made_ns)
    assert sorted([*dropped, *arrived, *left]) == sorted(made_ns), f"seed {seed}"
    assert dropped, f"seed {seed}: nothing came of it"
    store.close()


def test_it_is_told_once_an_outage_and_counted_by_stream_and_reason(tmp_path: Path) -> None:
    events: list[Event] = []
    now_ns = 1_000 * DAY_NS
    store = Store(tmp_path / "spool.db", bytes_max=PLENTY)
    spool = SpoolWorker(store=store, encode=encode, now_ns=lambda: now_ns, emit=events.append)
    spool.limit(PLENTY, Grace(), 0, DAY_NS)
    spool.start()

    def dropped() -> float:
        return value_of(spool, "fieldgate_spool_dropped_records_total")

    for outage in (1, 2):
        for number in range(3):
            spool.put(draft(number))
        wait_until(lambda: spool.snapshot().records == 3)
        for late in range(3):
            spool.put(draft(10 + late))
            wait_until(lambda most=3 + late: spool.snapshot().records > most)  # type: ignore[misc]
        now_ns += 2 * DAY_NS
        wait_until(lambda most=6 * outage: dropped() == most)  # type: ignore[misc]
        wait_until(lambda most=outage: len(events) == most)  # type: ignore[misc]
        time_of_calm = spool.snapshot()
        wait_until(lambda seen=time_of_calm: spool.snapshot() is not seen)  # type: ignore[misc]
    assert [(event.kind, event.subject) for event in events] == [("spool.expired", "spool")] * 2
    assert "more than 1d" in events[0].message
    labels = {reading.labels for reading in spool.readings() if reading.name == "fieldgate_spool_dropped_records_total"}
    assert labels == {(("stream", "samples"), ("reason", "expired"))}
    assert spool.stop(10.0)


def test_what_an_older_file_holds_counts_as_stored_when_it_became_a_present_one(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    with monkeypatched_migrations(5):
        insert = (
            "INSERT INTO records (stream, segment, sequence, priority, first_ns, last_ns, samples, bytes, body)"
            " VALUES ('samples', 70, 1, 2, 1, 2, 10, 9, x'00')"
        )
        with pytest.MonkeyPatch.context() as patch, closing(sqlite3.connect(path, isolation_level=None)) as old:
            from gateway.spool import schema

            patch.setattr(schema, "draw_epoch", lambda: 7)
            schema.migrate(old, path, lambda: 7)
            old.execute("INSERT INTO meta VALUES ('engine_time_ns', ?)", (str(500 * DAY_NS),))
            old.execute("INSERT INTO segments VALUES ('samples', 70, 'open', 2, NULL)")
            old.execute(insert)
    salvaged = salvage_of(path)
    store = opened(path, DAY_NS)
    assert store.oldest_ns() == (500 * DAY_NS,)
    store.close()
    assert salvaged == 1


def salvage_of(path: Path) -> int:
    """How many records a salvage of a copy of this file brings over."""
    copy = path.with_name("copy.db")
    copy.write_bytes(path.read_bytes())
    return salvage(copy, "a test").records


@pytest.mark.parametrize(("text", "age_ns"), [("", 0), ('max_age = "30d"', 30 * DAY_NS)])
def test_an_uplink_may_have_an_age_limit(tmp_path: Path, text: str, age_ns: int) -> None:
    whole = f'[gateway]\nid = "g"\n[uplink.cloud]\nfile = "records.jsonl"\n{text}\n'
    settings = examine_text(tmp_path, whole).settings
    assert settings is not None
    assert settings.uplinks[0].age_ns_max == age_ns
    assert "max_age" in EXAMPLE.read_text(encoding="utf-8")

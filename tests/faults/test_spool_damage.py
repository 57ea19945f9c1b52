"""A damaged spool: noticed, salvaged record by record, and what is lost is named."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from gateway.core.events import Event, Severity
from gateway.core.record import Stream
from gateway.core.segments import SEGMENTS_PER_EPOCH
from gateway.core.symbols import no_texts
from gateway.runtime.clock import resume_clock
from gateway.runtime.eventbook import EventBook
from gateway.runtime.statedir import SPOOL_FILE
from gateway.runtime.uplink import Way, open_first
from gateway.spool.records import Encoded, Grace, Key, Lane
from gateway.spool.salvage import damage, salvage
from gateway.spool.store import Store
from tests.support.spool import encoded, running_spool

PAGE = 4_096
SEED = 20_260_901
PLENTY = 1 << 30


def filled(path: Path, *, records: int = 60) -> list[Key]:
    store = Store(path, bytes_max=PLENTY, grace=Grace(10**9, PLENTY), epoch=lambda: 7)
    store.write_meta("engine_time_ns", "123")
    keys = store.append([encoded(n, size=6_000, stream=list(Stream)[n % 3]) for n in range(records)], 0)
    store.close()
    return keys


def overwrite(path: Path, page: int, chance: random.Random) -> None:
    with path.open("r+b") as file:
        file.seek(page * PAGE)
        file.write(chance.randbytes(PAGE))


def bodies(store: Store) -> dict[Key, bytes]:
    return {record.key: record.body for record in store.next_records(Lane.BACKLOG, {}, 10_000)}


def test_a_sound_file_and_no_file_need_no_salvage(tmp_path: Path) -> None:
    assert damage(tmp_path / "spool.db") == ""
    filled(tmp_path / "spool.db")
    assert damage(tmp_path / "spool.db") == ""


@pytest.mark.parametrize("round_number", range(8))
def test_any_page_may_go_bad_and_every_record_is_there_or_accounted_for(tmp_path: Path, round_number: int) -> None:
    chance = random.Random(SEED + round_number)
    path = tmp_path / "spool.db"
    keys = filled(path)
    for page in chance.sample(range(1, path.stat().st_size // PAGE), 2):
        overwrite(path, page, chance)
    reason = damage(path)
    salvaged = salvage(path, reason) if reason else None
    store = Store(path, bytes_max=PLENTY)
    there = bodies(store)
    store.drop_damaged(1)
    ledgered = {
        Key(loss.stream, loss.segment or 0, sequence)
        for loss in store.losses()
        for sequence in range(loss.from_sequence or 0, (loss.to_sequence or 0) + 1)
    }
    missing = set(keys) - set(there) - ledgered
    assert not missing or (salvaged and not salvaged.is_certain), f"seed {SEED + round_number}: {missing}"
    assert len(there) >= len(keys) - 25, f"seed {SEED + round_number}"
    for number, key in enumerate(keys):
        if key in there:
            assert there[key].startswith(b'{"n":%d}' % number), f"seed {SEED + round_number}"
    if salvaged:
        assert salvaged.put_aside.exists()
        fresh = store.append([encoded(1, stream=stream) for stream in Stream], 2)
        assert {key.segment // SEGMENTS_PER_EPOCH for key in fresh}.isdisjoint({7}), "an identity might be given twice"
    store.close()
    assert damage(path) == ""


def test_a_ruined_header_costs_no_start(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    filled(path)
    overwrite(path, 0, random.Random(SEED))
    salvaged = salvage(path, damage(path))
    assert (salvaged.records, salvaged.is_certain) == (0, False)
    store = Store(path, bytes_max=PLENTY)
    assert store.append([encoded(1)], 0)
    store.close()
    assert salvaged.put_aside.stat().st_size > 60 * 6_000


def test_a_start_over_a_damaged_file_goes_on_and_says_what_it_salvaged(tmp_path: Path) -> None:
    filled(tmp_path / SPOOL_FILE)
    overwrite(tmp_path / SPOOL_FILE, 0, random.Random(SEED))
    events: list[Event] = []
    clock = resume_clock(0)
    store = open_first(tmp_path, ())
    Way(store, gateway_id="plant", clock=clock, book=EventBook(events.append), text_of=no_texts)
    (event,) = events
    assert (event.kind, event.severity) == ("spool.salvaged", Severity.ERROR)
    assert f"{SPOOL_FILE}.damaged-1" in event.message
    store.close()
    again = open_first(tmp_path, ())
    assert again.salvaged == ""
    again.close()


def test_what_the_gateway_remembers_and_what_is_kept_come_along(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    store = Store(path, bytes_max=PLENTY, grace=Grace(10**9, PLENTY))
    store.write_meta("engine_time_ns", "123")
    keys = store.append([encoded(n) for n in range(5)], 0)
    store.acknowledge(keys[:2], now_ns=1)
    store.mark_damaged()
    store.close()
    assert "met damage" in damage(path)
    assert salvage(path, damage(path)).records == 5
    again = Store(path, bytes_max=PLENTY, grace=Grace(10**9, PLENTY))
    assert again.read_meta("engine_time_ns", "") == "123"
    assert (again.totals.kept_records, again.totals.records) == (2, 3 + 1)
    again.close()
    assert damage(path) == ""


def test_a_body_that_changed_on_the_disk_is_ledgered_and_told_and_never_sent(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    store = Store(path, bytes_max=PLENTY)
    keys = store.append([Encoded(Stream.SAMPLES, n, n, 1, encoded(n, size=500).body) for n in range(3)], 0)
    store.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        (body,) = connection.execute("SELECT body FROM records WHERE sequence = 2").fetchone()
        changed = bytearray(body)
        changed[len(changed) // 2] ^= 1
        connection.execute("UPDATE records SET body = ? WHERE sequence = 2", (bytes(changed),))
    events: list[Event] = []

    async def fetch() -> list[Key]:
        return [record.key for record in await spool.next_records(Lane.BACKLOG, {}, 10)]

    with running_spool(path, events) as spool:
        sent = asyncio.run(fetch())
        assert sent == [keys[0], keys[2], Key("samples", keys[0].segment, 4)]
    assert [event.kind for event in events] == ["spool.damaged"]
    store = Store(path, bytes_max=PLENTY)
    (loss,) = store.losses()
    assert (loss.reason, loss.from_sequence, loss.to_sequence) == ("damaged on the disk", 2, 2)
    store.close()

"""Several uplinks: whose file is whose, who gets which drafts, and when a checkpoint may be on the disk."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.core.events import Event
from gateway.core.record import Stream
from gateway.core.symbols import no_texts
from gateway.core.types import NS_PER_S
from gateway.runtime.clock import resume_clock
from gateway.runtime.eventbook import EventBook
from gateway.runtime.fan import Branch, EncodedOnce, Fan
from gateway.runtime.spoolfiles import own_file, spool_files
from gateway.runtime.supervisor import Supervisor
from gateway.runtime.uplink import Way, open_first
from gateway.settings.schema import FileAddress, Uplink
from gateway.spool.store import Store
from gateway.spool.worker import SpoolWorker
from tests.support.spool import draft, encode
from tests.support.uplink import until


def uplink(folder: Path, name: str, *streams: Stream) -> Uplink:
    return Uplink(
        name=name,
        address=FileAddress(path=folder / f"{name}.jsonl", rotate_bytes=1 << 30),
        topic="",
        streams=streams or (Stream.SAMPLES,),
        aggregates_every_ns=NS_PER_S,
        samples_every_ns=NS_PER_S,
        buffer_bytes_max=10_000_000,
        grace_ns=0,
        grace_bytes_max=0,
        drain_records_per_s=1_000,
        acknowledge_timeout_ns=NS_PER_S,
    )


def lives(folder: Path, *chapters: tuple[tuple[Uplink, ...], Callable[[Way], Awaitable[None]]]) -> list[Event]:
    """One run of the way out: each chapter has its uplinks, as after a reload."""
    events: list[Event] = []

    async def run() -> None:
        clock, book = resume_clock(0), EventBook(events.append)
        supervisor = Supervisor(now_ns=clock, emit=book.emit)
        way = Way(open_first(folder, chapters[0][0]), gateway_id="plant", clock=clock, book=book, text_of=no_texts)
        way._encoded_once = EncodedOnce(encode)
        way.fan.branches[0].worker._group._encode = way._encoded_once
        way.start(supervisor)
        for uplinks, act in chapters:
            await way.connect(uplinks, supervisor)
            await act(way)
        await way.stop(supervisor)

    asyncio.run(run())
    return events


def arrived(folder: Path, name: str) -> list[tuple[str, int]]:
    lines = (folder / f"{name}.jsonl").read_text().splitlines()
    records: list[dict[str, Any]] = [json.loads(line) for line in lines]
    return [(record["stream"], record["first_ns"]) for record in records if "first_ns" in record]


def puts(*drafts: Any) -> Callable[[Way], Awaitable[None]]:
    async def act(way: Way) -> None:
        for each in drafts:
            way.fan.put(each)
        for branch in way.fan.branches:
            await branch.worker.flush()
        await until(lambda: way.depth() == 0)

    return act


async def nothing(way: Way) -> None:
    return


def test_each_uplink_gets_the_streams_it_takes_under_identities_of_its_own(tmp_path: Path) -> None:
    one, other = uplink(tmp_path, "one"), uplink(tmp_path, "other", Stream.SAMPLES, Stream.EVENTS)
    lives(tmp_path, ((one, other), puts(draft(1), draft(2, stream=Stream.EVENTS), draft(3))))
    assert arrived(tmp_path, "one") == [("samples", 1), ("samples", 3)]
    assert sorted(arrived(tmp_path, "other")) == [("events", 2), ("samples", 1), ("samples", 3)]
    assert [path.name for path in spool_files(tmp_path, ["one", "other"]).values()] == ["spool.db", "spool-other.db"]
    assert [path.name for path in spool_files(tmp_path, ["other", "one"]).values()] == ["spool-other.db", "spool.db"]


def test_the_only_uplink_under_another_name_goes_on_with_what_waits(tmp_path: Path) -> None:
    store = Store(tmp_path / "spool.db", bytes_max=1 << 30)
    store.write_meta("uplink", "old")
    store.close()
    folder = tmp_path / "none"

    async def put_one(way: Way) -> None:
        way.fan.put(draft(7))

    lives(tmp_path, ((uplink(folder, "old"),), put_one))
    events = lives(tmp_path, ((uplink(tmp_path, "new"),), puts()))
    assert arrived(tmp_path, "new") == [("samples", 7)]
    assert "spool.left" not in [event.kind for event in events]


def test_what_waits_for_an_uplink_that_is_taken_out_stays_and_is_told(tmp_path: Path) -> None:
    gone = uplink(tmp_path / "none", "gone")
    kept = uplink(tmp_path, "kept")
    events = lives(tmp_path, ((kept, gone), puts_unheard), ((kept,), nothing))
    (left,) = [event for event in events if event.kind == "spool.left"]
    assert left.subject == "gone"
    assert str(own_file(tmp_path, "gone")) in left.message
    lives(tmp_path, ((kept, uplink(tmp_path, "gone")), puts()))
    assert arrived(tmp_path, "gone") == [("samples", 5)]


async def puts_unheard(way: Way) -> None:
    way.fan.put(draft(5))
    for branch in way.fan.branches:
        await branch.worker.flush()


def test_a_reload_leaves_the_session_of_an_uplink_that_is_as_it_was(tmp_path: Path) -> None:
    kept = uplink(tmp_path, "kept")
    events = lives(
        tmp_path,
        ((kept, uplink(tmp_path, "slow")), puts(draft(1))),
        ((kept, uplink(tmp_path, "new")), puts(draft(2))),
    )
    ups = [event.subject for event in events if event.kind == "uplink.up"]
    assert sorted(ups) == ["kept", "new", "slow"]
    assert arrived(tmp_path, "kept") == [("samples", 1), ("samples", 2)]
    assert arrived(tmp_path, "new") == [("samples", 2)]


class Note:
    """A checkpoint that notes in the file what each spool held at that moment."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        self.held: list[int] = []

    def prepare(self) -> None:
        return

    def write(self, connection: sqlite3.Connection) -> None:
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('noted', 'yes')")

    def stored(self, connection: sqlite3.Connection) -> None:
        for path in self.paths:
            (count,) = sqlite3.connect(path).execute("SELECT count(*) FROM records").fetchone()
            self.held.append(count)

    def given_up(self) -> None:
        pytest.fail("nobody died")


def workers(folder: Path, *names: str) -> list[SpoolWorker]:
    return [
        SpoolWorker(
            store=Store(folder / f"{name}.db", bytes_max=1 << 30),
            encode=encode,
            now_ns=lambda: 7,
            emit=lambda event: None,
        )
        for name in names
    ]


def test_a_checkpoint_reaches_the_disk_after_the_drafts_before_it_have_in_every_file(tmp_path: Path) -> None:
    spools = workers(tmp_path, "first", "second", "third")
    fan = Fan(Branch(spools[0]))
    fan.branches = tuple(map(Branch, spools))
    note = Note([tmp_path / f"{name}.db" for name in ("first", "second", "third")])
    for number in range(40):
        fan.put(draft(number))
    fan.accompany(note)
    for spool in spools:
        spool.start()
    for spool in reversed(spools):
        assert spool.stop(10.0)
    assert note.held == [40, 40, 40]
    for name, expected in (("first", [("yes",)]), ("second", []), ("third", [])):
        found = sqlite3.connect(tmp_path / f"{name}.db").execute("SELECT value FROM meta WHERE key = 'noted'")
        assert found.fetchall() == expected


def test_a_spool_that_died_does_not_hold_the_others_checkpoint_up(tmp_path: Path) -> None:
    spools = workers(tmp_path, "first", "dead")
    fan = Fan(Branch(spools[0]))
    fan.branches = tuple(map(Branch, spools))
    spools[1].start()
    assert spools[1].stop(10.0)
    note = Note([tmp_path / "first.db"])
    fan.put(draft(1))
    fan.accompany(note)
    spools[0].start()
    assert spools[0].stop(10.0)
    assert note.held == [1]


def test_a_replay_gives_each_spool_what_it_had_not_stored(tmp_path: Path) -> None:
    spools = workers(tmp_path, "first", "second")
    fan = Fan(Branch(spools[0], stored={"samples": 3, "events": 9}))
    fan.branches = (fan.branches[0], Branch(spools[1], frozenset({"samples"}), {"samples": 1}))
    assert fan.stored() == ({"samples": 1, "events": 9}, {"samples": 3, "events": 9})
    for ordinal in range(1, 6):
        each = draft(ordinal)
        object.__setattr__(each, "ordinal", ordinal)
        fan.put_again(each)
    for spool in spools:
        spool.start()
        assert spool.stop(10.0)
    held = [
        [row[0] for row in sqlite3.connect(tmp_path / f"{name}.db").execute("SELECT first_ns FROM records ORDER BY id")]
        for name in ("first", "second")
    ]
    assert held == [[4, 5], [2, 3, 4, 5]]


def test_a_draft_is_encoded_once_for_all(tmp_path: Path) -> None:
    calls: list[int] = []

    def count(record: Any) -> bytes:
        calls.append(record.first_ns)
        return encode(record)

    once = EncodedOnce(count)
    drafts = [draft(number) for number in range(5)]
    assert [once(each) for each in drafts * 3] == [encode(each) for each in drafts] * 3
    assert calls == list(range(5))

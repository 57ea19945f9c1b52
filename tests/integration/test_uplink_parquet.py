"""The folder of Parquet files: what readers find there, and that nothing is lost or doubled, whenever it is cut off."""

from __future__ import annotations

import asyncio
import json
import math
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.dataset
import pyarrow.parquet
import pytest

from gateway.core.ports import LinkDown, Upstream, Verdict
from gateway.core.record import Identity
from gateway.protocol.records.columns import STREAMS
from gateway.protocol.records.log import MARK
from gateway.settings.schema import ParquetAddress
from gateway.upstreams import parquet
from gateway.upstreams.parquet import folder as places
from gateway.upstreams.parquet import log as logs
from gateway.upstreams.parquet.convert import convert
from gateway.upstreams.parquet.files import finished, spans_of
from tests.contract.test_upstreams import record, send_all
from tests.support.records import content, payloads

HOUR_NS = 3_600 * 10**9
WALL_NS = 1_790_000_000 * 10**9
TABLES = ("samples", "aggregates", "calculations", "multivariate", "events")


def address(folder: Path, **more: Any) -> ParquetAddress:
    settings = {"rotate_bytes": 1 << 30, "rotate_every_ns": HOUR_NS, "room_bytes": 1 << 40} | more
    return ParquetAddress(path=folder, **settings)


def opened(folder: Path) -> logs.Log:
    places.lock(folder).close()
    return logs.opened(folder)


def fill(folder: Path, records: list[tuple[Identity, bytes]], groups: int = 1) -> None:
    """A closed log with these, and an empty one."""
    log = opened(folder)
    for at in range(groups):
        log.append(records[at::groups], WALL_NS)
    log.next()
    log.close()


def seen(folder: Path) -> Counter[tuple[str, int, int]]:
    """Rows that a reader finds, by record; those of tests have one row each."""
    rows = ((path.parent.name, pyarrow.parquet.read_table(path).to_pylist()) for _, path in finished(folder))
    return Counter(
        (row.get("stream", table), row["segment"], row["sequence"]) for table, found in rows for row in found
    )


def who(records: list[tuple[Identity, bytes]]) -> set[tuple[str, int, int]]:
    return {(each.stream, each.segment, each.sequence) for each, _ in records}


# -- what readers find


@pytest.fixture
def every_kind(tmp_path: Path) -> Path:
    """A folder with a record of each kind in each table."""
    records = [
        (Identity(said["gateway"], said["stream"], said["segment"], said["sequence"]), payload)
        for said, payload in ((content(payload), payload) for payload in payloads().values())
    ]
    fill(tmp_path, records)
    assert convert(tmp_path) == []
    return tmp_path


@pytest.mark.parametrize("table", TABLES)
def test_rows_have_all_that_the_record_has(every_kind: Path, table: str) -> None:
    told = [content(payload) for what, payload in payloads().items() if what != "no samples"]
    records = [each for each in told if each["stream"] == table and "record" not in each]
    found = pyarrow.dataset.dataset(every_kind / table).to_table().to_pylist()
    place = 0
    for each in records:
        count = len(each[STREAMS[table][0].name])
        for at, row in enumerate(found[place : place + count]):
            assert (row["gateway"], row["segment"], row["sequence"]) == (
                "boiler-house",
                12_340_000_007,
                each["sequence"],
            )
            own_ns = {"samples": "time_ns", "events": "time_ns", "calculations": "end_ns"}.get(table)
            time_ns = each[own_ns][at] if own_ns else each["last_ns"]
            assert row["time"].value == time_ns + each["wall_offset_ns"]
            assert row["time_quality"] == "synced"
            for column in STREAMS[table]:
                value = each[column.name][at]
                if column.name in ("tag", "calculation"):
                    value = each[column.name + "s"][value]
                read = row[column.name]
                if table == "samples" and column.name == "value":
                    beside = [row[name] for name in ("value", "integer", "unsigned", "text") if row[name] is not None]
                    assert len(beside) <= 1
                    read = next(iter(beside), None)
                assert read == value, column.name
                if isinstance(value, float):
                    assert math.copysign(1, read) == math.copysign(1, value)
        place += count
    assert place == len(found) > 0


def test_what_is_no_table_is_a_report_with_the_whole_record(every_kind: Path) -> None:
    kinds = ("no samples", "segment end", "loss report")
    rows = pyarrow.dataset.dataset(every_kind / "reports").to_table().to_pylist()
    assert [json.loads(row["content"]) for row in rows] == [content(payloads()[what]) for what in kinds]
    assert [row["record"] for row in rows] == ["table", "segment-end", "ledger"]


def test_a_footer_says_who_is_inside_and_what_tags_are(every_kind: Path) -> None:
    (path,) = (every_kind / "samples").iterdir()
    assert path.name == "20260921T141320Z-000001.parquet"
    told = {key.decode(): value for key, value in pyarrow.parquet.read_metadata(path).metadata.items()}
    assert json.loads(told["fieldgate.identities"]) == [["boiler-house", "samples", 12_340_000_007, 42, 43]]
    (labels,) = json.loads(told["fieldgate.labels"])["a.energy"]
    assert labels == {"segment": 12_340_000_007, "sequence": 43, "labels": {"0": "none", "1": "some"}}
    assert json.loads(told["fieldgate.context"]) == {"12ab34cd": {"a.x": {"asset": "B-1", "path": "höhe/1"}}}
    everybody = Counter(span[1:] for _, each in finished(every_kind) for span in spans_of(each))
    assert len(everybody) == sum(everybody.values())


def test_a_record_that_a_later_fieldgate_made_has_its_place_among_the_reports(tmp_path: Path) -> None:
    identity, payload = record(1)
    later = [json.loads(payload) | extra for extra in ({"slope": [1.5]}, {"mood": "calm"}, {"tag": ["x"]})]
    records = [
        (Identity("plant", "samples", 70, number), json.dumps(each | {"sequence": number}).encode())
        for number, each in enumerate(later, 2)
    ]
    fill(tmp_path, [(identity, payload), *records])
    convert(tmp_path)
    assert pyarrow.dataset.dataset(tmp_path / "samples").count_rows() == 1
    rows = pyarrow.dataset.dataset(tmp_path / "reports").to_table().to_pylist()
    assert [row["content"].encode() for row in rows] == [payload for _, payload in records]


def test_files_of_many_records_are_read_as_one_data_set(tmp_path: Path) -> None:
    for period in range(3):
        fill(tmp_path, [record(1 + period * 700 + n, size=1) for n in range(700)], groups=20)
        convert(tmp_path)
    data = pyarrow.dataset.dataset(tmp_path / "samples")
    assert len(data.files) == 3
    late = data.to_table(filter=pyarrow.dataset.field("sequence") > 2_000, columns=["tag", "time_ns"])
    assert late.num_rows == 100
    assert set(late["tag"].to_pylist()) == {"press.note"}


# -- exactly once


class CutOff(BaseException):
    """As a SIGKILL or a power cut: nobody catches it."""


def cutting(patch: pytest.MonkeyPatch, at: int) -> Iterator[int]:
    """From here on the call number `at` on the file system does not come about, and nothing after it."""
    calls = iter(range(at))

    def cut(real: Any) -> Any:
        def stand_in(*arguments: Any, **more: Any) -> Any:
            if next(calls, None) is None:
                raise CutOff
            return real(*arguments, **more)

        return stand_in

    for owner, name in ((Path, "replace"), (Path, "unlink"), (Path, "mkdir"), (os, "fsync")):
        patch.setattr(owner, name, cut(getattr(owner, name)))
    return calls


@pytest.mark.parametrize("takes_away", [False, True], ids=["files stay", "a reader takes files away"])
def test_a_conversion_that_is_cut_off_at_any_call_shows_each_record_once(tmp_path: Path, takes_away: bool) -> None:
    records = [record(n, stream=stream) for n in (1, 2, 3) for stream in ("samples", "events")]
    cut_offs = 0
    for at in range(100):
        folder = tmp_path / str(at)
        folder.mkdir()
        fill(folder, records[:4])
        fill(folder, records[4:])
        taken: Counter[tuple[str, int, int]] = Counter()
        with pytest.MonkeyPatch.context() as patch:
            left = cutting(patch, at)
            try:
                convert(folder)
            except CutOff:
                cut_offs += 1
        is_through = next(left, None) is not None
        if takes_away:
            taken = seen(folder)
            for _, path in finished(folder):
                path.unlink()
        convert(folder)
        assert taken + seen(folder) == Counter(who(records)), f"cut off at call {at}"
        assert [path.name for path in sorted((folder / "_log").iterdir())] == ["000003.log", "lock"]
        if is_through:
            break
    assert cut_offs > 20


def test_what_is_sent_again_is_held_once_also_when_its_file_was_taken_away(tmp_path: Path) -> None:
    records = [record(n) for n in range(1, 60)]

    async def play() -> None:
        async with parquet.connect(address(tmp_path), wall_ns=lambda: WALL_NS) as upstream:
            await send_all(upstream, records[:40])
        fill(tmp_path, [])
        async with parquet.connect(address(tmp_path), wall_ns=lambda: WALL_NS) as upstream:
            ((_, path),) = finished(tmp_path)
            path.rename(tmp_path / "taken.parquet")
            await send_all(upstream, records[20:])
        fill(tmp_path, [])
        async with parquet.connect(address(tmp_path), wall_ns=lambda: WALL_NS):
            assert seen(tmp_path) == Counter(who(records[40:]))

    asyncio.run(play())


def test_without_a_log_the_footers_say_what_is_held(tmp_path: Path) -> None:
    records = [record(n) for n in range(1, 10)]
    fill(tmp_path, records)
    convert(tmp_path)
    for log in (tmp_path / "_log").iterdir():
        log.unlink()
    fill(tmp_path, [record(10), *records])
    convert(tmp_path)
    assert seen(tmp_path) == Counter(who([*records, record(10)]))
    assert [number for number, _ in finished(tmp_path)] == [1, 2]


def test_a_frame_that_a_power_cut_tore_is_cut_off_and_written_whole(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.append([record(1)], WALL_NS)
    before = log.size
    log.append([record(2), record(3)], WALL_NS)
    log.close()
    path = places.log_path(tmp_path, 1)
    whole = path.read_bytes()
    for end in range(before, len(whole)):
        path.write_bytes(whole[:end])
        torn = opened(tmp_path)
        assert (torn.records, torn.size) == (1, before)
        torn.append([record(1), record(2), record(3)], WALL_NS)
        torn.close()
        assert path.read_bytes() == whole


def test_a_sync_that_fails_leaves_nothing_that_is_found_whole_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play() -> None:
        with pytest.raises(LinkDown, match="Input/output error"):
            async with parquet.connect(address(tmp_path), wall_ns=lambda: WALL_NS) as upstream:
                await upstream.send(*record(1))
                with monkeypatch.context() as patch:
                    patch.setattr(os, "fsync", failing)
                    await upstream.send(*record(2))
        log = opened(tmp_path)
        assert log.records == 1
        log.close()
        async with parquet.connect(address(tmp_path), wall_ns=lambda: WALL_NS) as upstream:
            assert await upstream.send(*record(2)) is Verdict.ACCEPTED

    def failing(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    asyncio.run(play())


def test_a_damaged_log_is_told_once_its_whole_frames_are_kept_and_it_goes_on(tmp_path: Path) -> None:
    records = [record(n) for n in (1, 2, 3)]

    async def session() -> Upstream:
        async with parquet.connect(address(tmp_path), wall_ns=lambda: WALL_NS) as upstream:
            return upstream

    log = opened(tmp_path)
    for each in records:
        log.append([each], WALL_NS)
    log.close()
    path = places.log_path(tmp_path, 1)
    damaged = bytearray(path.read_bytes())
    damaged[damaged.rfind(MARK, 0, damaged.rfind(MARK)) + 40] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(LinkDown, match=r"000001\.log: damaged at byte \d+; what is whole in it is kept"):
        asyncio.run(session())
    with pytest.raises(LinkDown, match=r"000001\.log was damaged: its whole frames are in the files, it is kept as"):
        asyncio.run(session())
    asyncio.run(session())
    assert seen(tmp_path) == Counter(who([records[0], records[2]]))
    assert (tmp_path / "_log" / "000001.damaged").read_bytes() == damaged


# -- who else is there, and how much room


def test_two_that_write_into_one_folder_are_told_apart_by_its_lock(tmp_path: Path) -> None:
    async def play() -> None:
        async with parquet.connect(address(tmp_path), wall_ns=lambda: WALL_NS):
            with pytest.raises(LinkDown, match="somebody else writes there"):
                async with parquet.connect(address(tmp_path), wall_ns=lambda: WALL_NS):
                    pytest.fail("two of them")
        async with parquet.connect(address(tmp_path), wall_ns=lambda: WALL_NS) as upstream:
            assert await upstream.send(*record(1)) is Verdict.ACCEPTED

    asyncio.run(play())


def test_a_folder_that_has_as_much_as_it_may_is_told_and_goes_on_when_files_are_taken_away(tmp_path: Path) -> None:
    small = address(tmp_path, room_bytes=100_000)

    async def send_on(numbers: Iterator[int]) -> None:
        async with parquet.connect(small, wall_ns=lambda: WALL_NS) as upstream:
            for number in numbers:
                identity, _ = record(number)
                await upstream.send(
                    identity, record(number, size=1)[1][:-1] + b',"noise":"%s"}' % os.urandom(500).hex().encode()
                )

    numbers = iter(range(1, 10_000))
    with pytest.raises(LinkDown, match=r"has 0 MB, and may have 0 \(room\); take finished files away"):
        asyncio.run(send_on(numbers))
    assert 90_000 < places.size(tmp_path) < 110_000
    with pytest.raises(LinkDown, match="room"):
        asyncio.run(send_on(numbers))
    fill(tmp_path, [])
    convert(tmp_path)
    for _, path in finished(tmp_path):
        path.unlink()
    asyncio.run(send_on(iter((10_001,))))


def test_a_full_disk_is_told_by_name_and_costs_nothing(tmp_path: Path, small_disk: Path) -> None:
    folder, ballast = small_disk / "archive", small_disk / "ballast"
    folder.mkdir()
    accepted: list[tuple[Identity, bytes]] = []

    async def fill_up() -> None:
        async with parquet.connect(address(folder), wall_ns=lambda: WALL_NS) as upstream:
            for number in range(len(accepted) + 1, 100_000):
                if number == 20:
                    ballast.write_bytes(bytes(1_900_000))
                identity, payload = record(number)
                payload = payload[:-1] + b',"noise":"%s"}' % os.urandom(2_000).hex().encode()
                assert await upstream.send(identity, payload) is Verdict.ACCEPTED
                accepted.append((identity, payload))

    async def go_on() -> None:
        async with parquet.connect(address(folder), wall_ns=lambda: WALL_NS) as upstream:
            await send_all(upstream, [record(n) for n in range(1, len(accepted) + 3)])
        fill(folder, [])
        async with parquet.connect(address(folder), wall_ns=lambda: WALL_NS):
            assert seen(folder) == Counter(who([record(n) for n in range(1, len(accepted) + 3)]))

    for _ in range(2):
        with pytest.raises(LinkDown, match="No space left on device"):
            asyncio.run(fill_up())
    # The conversion needs room, too: it says so, and the log stays.
    with pytest.raises((LinkDown, OSError), match="No space left on device"):
        fill(folder, [])
        asyncio.run(fill_up())
    ballast.unlink()
    asyncio.run(go_on())


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    async def play() -> None:
        async with parquet.connect(address(tmp_path / "mount"), wall_ns=lambda: WALL_NS):
            pytest.fail("a session without a folder")

    with pytest.raises(LinkDown, match="No such file or directory; check that the folder exists"):
        asyncio.run(play())


def test_a_period_that_is_over_becomes_files_by_itself(tmp_path: Path) -> None:
    now_ns = WALL_NS

    async def play() -> None:
        nonlocal now_ns
        async with parquet.connect(address(tmp_path), wall_ns=lambda: now_ns) as upstream:
            await upstream.send(*record(1))
            now_ns = WALL_NS // HOUR_NS * HOUR_NS + HOUR_NS
            async with asyncio.timeout(60):
                while not finished(tmp_path):
                    await asyncio.sleep(0.05)
            await upstream.send(*record(2))
        assert seen(tmp_path) == Counter(who([record(1)]))

    asyncio.run(play())

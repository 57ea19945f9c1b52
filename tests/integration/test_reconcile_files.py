"""Reconciliation of a real spool with the files that an upstream wrote: JSON lines and Parquet, wherever they lie."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow.dataset
import pyarrow.parquet
import pytest
import uvloop
from click.testing import CliRunner

from gateway.cli.app import app
from gateway.core.record import Identity, Stream
from gateway.runtime.received import Part, ReceiverUnfit
from gateway.runtime.receivers import read_files
from gateway.runtime.reconcile import Verdict, reconcile
from gateway.spool.records import Encoded, Grace, Lane, Stored, compress
from gateway.spool.store import Store
from gateway.upstreams.parquet.convert import convert
from gateway.upstreams.parquet.files import finished
from gateway.upstreams.parquet.folder import is_converted
from tests.contract.test_upstreams import record
from tests.integration.test_reconcile import GRACE, delivering, long_record
from tests.integration.test_uplink_parquet import CutOff, cutting, fill
from tests.support.spool import draft, envelope
from tests.support.uplink import until
from tests.support.upstreams import Files, ParquetFolder

Kind: TypeAlias = Callable[[Path], Files]


class Plant:
    """A store, and files that get what the test hands them."""

    def __init__(self, folder: Path, kind: Kind = Files) -> None:
        self.store = Store(folder / "spool.db", bytes_max=1 << 30, grace=GRACE)
        self.far_end = kind(folder)
        self.far_end.folder.mkdir()

    def make(self, count: int) -> list[Stored]:
        """Records of samples, one segment, numbered from 1; acknowledged."""
        bodies = [json.loads(record(number)[1]) for number in range(1, count + 1)]
        who = ("gateway", "stream", "segment", "sequence")
        kept = [{name: what for name, what in body.items() if name not in who} for body in bodies]
        packed = [compress(json.dumps(body).encode()) for body in kept]
        self.store.append([Encoded(Stream.SAMPLES, n, n, 1, body) for n, body in enumerate(packed)], 0)
        return self.acknowledged()

    def acknowledged(self) -> list[Stored]:
        records = self.store.next_records(Lane.LIVE, {}, 1_000)
        self.store.acknowledge([each.key for each in records], now_ns=5)
        return records

    def take(self, records: list[Stored], *, asked: bool = False) -> None:
        async def send() -> None:
            async with self.far_end.connect() as upstream:
                for each in records:
                    identity = Identity("plant", *each.key, is_asked=asked)
                    await upstream.send(identity, envelope(identity, each.body))

        asyncio.run(send())

    def verdict(self, *more: Path) -> Verdict:
        read = partial(read_files, [self.far_end.folder, *more], "plant")
        return reconcile(self.store.path, read, pause=lambda: None)


@pytest.fixture(params=[Files, ParquetFolder])
def plant(request: pytest.FixtureRequest, tmp_path: Path) -> Plant:
    return Plant(tmp_path, request.param)


def samples(records: list[Stored], first: int, last: int) -> Part:
    return Part("samples", records[0].key.segment, first, last)


def test_what_lies_in_many_files_and_in_the_one_that_is_written_makes_up_what_was_produced(plant: Plant) -> None:
    records = plant.make(40)
    for at in range(0, 40, 8):
        plant.take(records[at : at + 8])
    assert len([path for path in plant.far_end.folder.rglob("*") if path.is_file()]) > 3
    verdict = plant.verdict()
    assert verdict.is_whole
    assert (verdict.produced, verdict.received, verdict.taken_away, verdict.unreadable) == (40, 40, 0, ())


def test_records_of_other_gateways_in_the_files_do_not_count(plant: Plant) -> None:
    records = plant.make(3)
    plant.take(records[:2])

    async def other() -> None:
        identity = Identity("other", *records[2].key)
        async with plant.far_end.connect() as upstream:
            await upstream.send(identity, envelope(identity, records[2].body))

    asyncio.run(other())
    assert plant.verdict().lost_kept == (samples(records, 3, 3),)


def test_what_is_there_twice_is_named(plant: Plant) -> None:
    records = plant.make(9)
    plant.take(records)
    plant.take(records[3:6], asked=True)
    verdict = plant.verdict()
    assert verdict.duplicates == (samples(records, 4, 6),)
    assert not verdict.is_whole


def test_what_the_loss_ledger_says_is_found_in_the_files(plant: Plant) -> None:
    plant.store.append([long_record(n) for n in range(20)], 0)
    plant.store.bytes_max = 14_000
    plant.store.append([long_record(99)], 1)
    dropped = sum(loss.records for loss in plant.store.losses())
    assert dropped > 5
    plant.store.report_losses(2)
    records = plant.acknowledged()
    plant.take(records)
    plant.store.grace = Grace()
    plant.store.expire(10)
    for _ in range(2):
        verdict = plant.verdict()
        assert verdict.is_whole
        assert (verdict.ledgered, verdict.received) == (dropped, 22 - dropped)
        # Once more with what was in the Parquet folder's log in files.
        plant.take([])
        if isinstance(plant.far_end, ParquetFolder):
            fill(plant.far_end.folder, [])
            convert(plant.far_end.folder)


def test_files_that_were_taken_away_are_missed_until_it_is_said_where_they_are(plant: Plant, tmp_path: Path) -> None:
    records = plant.make(40)
    for at in range(0, 40, 8):
        plant.take(records[at : at + 8])
    if isinstance(plant.far_end, ParquetFolder):
        (_, oldest), *_ = finished(plant.far_end.folder)
    else:
        oldest = min(plant.far_end.folder.glob("records-*"))
    archive = tmp_path / "archive" / "2026" / "samples"
    archive.mkdir(parents=True)
    shutil.move(oldest, archive)
    verdict = plant.verdict()
    (lost,) = verdict.lost_kept
    assert lost.first == 1
    # Lines do not say what was in other files.
    assert verdict.taken_away == (len(lost) if isinstance(plant.far_end, ParquetFolder) else 0)
    assert plant.verdict(tmp_path / "archive").is_whole
    assert plant.verdict(archive / oldest.name, tmp_path / "archive", archive).is_whole, "a file counts once"


def test_parquet_files_that_another_program_made_of_ours_are_read_by_their_rows(tmp_path: Path) -> None:
    plant = Plant(tmp_path, ParquetFolder)
    records = plant.make(30)
    plant.take(records[:20])
    fill(plant.far_end.folder, [])
    convert(plant.far_end.folder)
    table = pyarrow.dataset.dataset(plant.far_end.folder / "samples").to_table().replace_schema_metadata(None)
    for _, path in finished(plant.far_end.folder):
        path.unlink()
    target = tmp_path / "compacted" / "samples"
    target.mkdir(parents=True)
    pyarrow.parquet.write_table(table.take(list(reversed(range(len(table))))), target / "all.parquet")
    plant.take(records[20:])
    assert plant.verdict(tmp_path / "compacted").is_whole


def test_a_conversion_that_is_cut_off_at_any_call_loses_and_doubles_nothing_in_the_books(tmp_path: Path) -> None:
    plant = Plant(tmp_path, ParquetFolder)
    records = plant.make(12)
    named = [(Identity("plant", *each.key), envelope(Identity("plant", *each.key), each.body)) for each in records]
    cut_offs = 0
    for at in range(100):
        shutil.rmtree(plant.far_end.folder)
        plant.far_end.folder.mkdir()
        fill(plant.far_end.folder, named[:6])
        fill(plant.far_end.folder, named[6:])
        assert plant.verdict().is_whole
        with pytest.MonkeyPatch.context() as patch:
            left = cutting(patch, at)
            try:
                convert(plant.far_end.folder)
            except CutOff:
                cut_offs += 1
        assert plant.verdict().is_whole, f"cut off at call {at}"
        if next(left, None) is not None:
            break
    assert cut_offs > 10


def test_lines_that_are_no_records_any_more_are_named_and_missed(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    records = plant.make(3)
    plant.take(records)
    path = plant.far_end.folder / "records.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1].replace(b'"sequence"', b"\0\0\0\0\0\0\0\0\0\0") + lines[2] + lines[1][:30])
    verdict = plant.verdict()
    assert verdict.lost_kept == (samples(records, 2, 2),)
    assert verdict.unreadable == (f"{path}: byte {len(lines[0])} begins a line that is no record",)


def test_parquet_and_frames_that_are_damaged_are_named_and_missed(tmp_path: Path) -> None:
    plant = Plant(tmp_path, ParquetFolder)
    records = plant.make(4)
    plant.take(records[:2])
    fill(plant.far_end.folder, [])
    convert(plant.far_end.folder)
    ((_, path),) = finished(plant.far_end.folder)
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    plant.take(records[2:3])
    plant.take(records[3:])
    log = max((plant.far_end.folder / "_log").glob("*.log"))
    damaged = bytearray(log.read_bytes())
    damaged[damaged.find(b'"samples"', damaged.find(b"FGRLOG1", 8))] ^= 1
    log.write_bytes(damaged)
    verdict = plant.verdict()
    assert verdict.lost_kept == (samples(records, 1, 3),)
    assert [told.split(":")[0] for told in verdict.unreadable] == [str(log), str(path)]


@pytest.mark.parametrize("what", ["a text", "an empty folder", "a table of somebody else's"])
def test_what_can_prove_nothing_says_so(tmp_path: Path, what: str) -> None:
    path = tmp_path / "there"
    if what == "an empty folder":
        path.mkdir()
    else:
        path.write_text("time,value\n1,2\n")
    if what == "a table of somebody else's":
        path = path.with_suffix(".parquet")
        pyarrow.parquet.write_table(pyarrow.table({"a": [1]}), path)
        assert read_files([path], "plant").unreadable == [f"{path}: it has no columns gateway, segment, sequence"]
        return
    with pytest.raises(ReceiverUnfit, match="there: "):
        read_files([path], "plant")


@pytest.mark.parametrize("kind", [Files, ParquetFolder])
def test_a_running_gateway_writes_again_what_its_files_lack(tmp_path: Path, kind: Kind) -> None:
    far_end = kind(tmp_path)
    uplink = (
        f'parquet = "{far_end.folder}"' if kind is ParquetFolder else f'file = "{far_end.folder / "records.jsonl"}"'
    )
    configuration = tmp_path / "plant.toml"
    configuration.write_text(
        f'[gateway]\nid = "plant"\nstate_dir = "{tmp_path}"\n[links.l]\nmodbus_tcp = "127.0.0.1:1502"\n'
        '[devices.d]\nlink = "l"\nunit = 1\ntags.t = { register = "holding 1", type = "int16", every = "1s" }\n'
        f"[uplink.cloud]\n{uplink}\n"
    )

    def command(*more: str) -> tuple[int, dict[str, Any]]:
        result = CliRunner().invoke(app, ["reconcile", str(configuration), "--json", "--wait", "0.1", *more])
        assert result.stdout, result.stderr
        return result.exit_code, json.loads(result.stdout)

    def a_whole_file() -> Path | None:
        if kind is ParquetFolder:
            # Until a log is gone whose file is there, it has what the file has.
            is_alone = is_converted(far_end.folder)
            return next((path for _, path in finished(far_end.folder)), None) if is_alone else None
        return min(far_end.folder.glob("records-*.jsonl"), default=None)

    async def scenario() -> None:
        async with delivering(far_end, tmp_path) as spool:
            for number in range(40):
                spool.put(draft(number))
            await until(lambda: spool.depth() == 0 and a_whole_file() is not None)
            code, found = await asyncio.to_thread(command)
            assert (code, found["whole"], found["asked_again"], found["unreadable"]) == (0, True, 0, [])
            assert found["received"] == found["produced"] >= 40
            path = a_whole_file()
            assert path is not None
            path.unlink()
            code, found = await asyncio.to_thread(command, "--repair")
            lost = sum(part["last"] - part["first"] + 1 for part in found["lost_kept"])
            assert (code, found["whole"], found["asked_again"]) == (1, False, lost)
            assert lost > 0
            async with asyncio.timeout(20):
                while (verdict := await asyncio.to_thread(command))[0] != 0:
                    await asyncio.sleep(0.1)
            assert verdict[1]["received"] == verdict[1]["produced"] >= 40

    uvloop.run(scenario())


def test_an_uplink_that_writes_no_files_wants_to_be_told_of_a_receiver(tmp_path: Path) -> None:
    configuration = tmp_path / "plant.toml"
    configuration.write_text(
        f'[gateway]\nid = "plant"\nstate_dir = "{tmp_path}"\n[links.l]\nmodbus_tcp = "127.0.0.1:1502"\n'
        '[devices.d]\nlink = "l"\nunit = 1\ntags.t = { register = "holding 1", type = "int16", every = "1s" }\n'
        '[uplink.cloud]\nmqtt = "mqtt://127.0.0.1:1883"\n'
    )
    Store(tmp_path / "spool.db", bytes_max=1 << 30).close()
    result = CliRunner().invoke(app, ["reconcile", str(configuration)])
    assert result.exit_code == 1
    assert "--receiver" in result.stderr

"""Spools of all schemas that there were, each as the gateways of its time left it, in the hands of this one.

fixtures/spool-schema-N.db.gz was made by the code that wrote schema N, the first by the first that had a store: three
streams, an outage's closed segment and an open one, acknowledged records, one that the upstream refused, and some that
had to make room. Whoever adds a schema adds its file.
"""

from __future__ import annotations

import gzip
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli.app import app
from gateway.core.encode import envelope
from gateway.core.record import Identity, Stream
from gateway.receiver import Receiver
from gateway.runtime.receivers import read_files
from gateway.runtime.reconcile import reconcile
from gateway.runtime.uplink import open_store
from gateway.spool.records import Lane, StoreRefused
from gateway.spool.schema import MIGRATIONS
from gateway.spool.store import Store
from tests.support.spool import encoded

FIXTURES = Path(__file__).parents[1] / "fixtures"
SCHEMAS = range(1, len(MIGRATIONS) + 1)
PRESENT = SCHEMAS[-1]
RECORDS = {"aggregates": 10, "events": 11, "samples": 4}
LEDGERED = {("aggregates", "rejected"): 10, ("samples", "spool full"): 120}


@pytest.fixture(params=SCHEMAS)
def schema(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def path(tmp_path: Path, schema: int) -> Path:
    path = tmp_path / "spool.db"
    path.write_bytes(gzip.decompress((FIXTURES / f"spool-schema-{schema}.db.gz").read_bytes()))
    return path


def test_it_opens_with_all_that_was_in_it_and_nothing_salvaged(path: Path) -> None:
    store = open_store(path, None)
    assert not store.salvaged
    waiting = store.next_records(Lane.BACKLOG, {}, 1_000) + store.next_records(Lane.LIVE, {}, 1_000)
    found = {stream: sum(record.key.stream == stream for record in waiting) for stream in RECORDS}
    assert found == RECORDS
    told: dict[tuple[str, str], int] = {}
    for loss in store.losses():
        told[loss.stream, loss.reason] = told.get((loss.stream, loss.reason), 0) + loss.samples
    assert told == LEDGERED
    assert store.read_meta("engine_time_ns", "") == "5000"
    store.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_streams_that_came_later_begin_in_it_and_everything_is_counted(path: Path) -> None:
    store = open_store(path, None)
    keys = store.append([encoded(n, stream=stream) for n, stream in enumerate(Stream)], 9_000)
    assert {key.stream for key in keys} == set(Stream)
    store.close()
    with closing(sqlite3.connect(path)) as connection:
        produced = dict(connection.execute("SELECT stream, produced FROM streams"))
    assert produced == {"events": 14, "aggregates": 14, "samples": 19, "calculations": 1, "multivariate": 1}


def test_what_waits_in_it_is_delivered_and_the_books_agree(path: Path, tmp_path: Path) -> None:
    store = Store(path, bytes_max=1 << 30)
    store.append([encoded(n, stream=Stream.SAMPLES) for n in range(3)], 9_000)
    store.report_losses(9_000)
    receiver = Receiver(tmp_path / "received.db")
    for stream in RECORDS:
        for sequence in (1, 2):
            # What the old gateway had delivered.
            receiver.accept(envelope(Identity("plant", stream, 1_234_560_000_000, sequence), b'{"first_ns":0}'))
    acknowledged = []
    for record in store.next_records(Lane.BACKLOG, {}, 1_000) + store.next_records(Lane.LIVE, {}, 1_000):
        receiver.accept(envelope(Identity("plant", *record.key), record.body))
        acknowledged.append(record.key)
    receiver.commit()
    store.acknowledge(acknowledged, 9_001)
    assert store.totals.records == 0
    assert store.losses() == []
    store.close()
    verdict = reconcile(path, partial(read_files, [tmp_path / "received.db"], "plant"), pause=lambda: None)
    assert (verdict.lost, verdict.duplicates, verdict.waiting) == ((), (), 0)


def test_a_damaged_one_is_salvaged_with_its_ledger(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        (page,) = connection.execute(
            "SELECT max(rootpage) FROM sqlite_master WHERE type = 'index' AND tbl_name = 'records'"
        ).fetchone()
    with path.open("r+b") as damaged:
        damaged.seek((page - 1) * 4_096)
        damaged.write(b"\xa5" * 4_096)
    store = open_store(path, None)
    assert "salvaged" in store.salvaged
    assert sum(loss.samples for loss in store.losses() if loss.reason == "spool full") == 120
    store.append([encoded(n, stream=stream) for n, stream in enumerate(Stream)], 9_000)
    store.close()


@pytest.mark.parametrize("schema", SCHEMAS[:-1])
def test_commands_say_that_it_is_older_and_what_to_do(path: Path, tmp_path: Path, schema: int) -> None:
    configuration = tmp_path / "plant.toml"
    configuration.write_text(
        f'[gateway]\nid = "plant"\nstate_dir = "{path.parent}"\n[uplink.cloud]\nfile = "out.jsonl"\n'
    )
    result = CliRunner().invoke(app, ["spool", "status", str(configuration)])
    assert result.exit_code == 1
    assert f"older fieldgate (schema {schema}" in result.output
    assert "start this one once" in result.output


@pytest.mark.parametrize("schema", [PRESENT])
@pytest.mark.parametrize("known", SCHEMAS[:-1])
def test_a_file_of_this_version_is_refused_by_one_that_knows_less(
    path: Path, monkeypatch: pytest.MonkeyPatch, known: int
) -> None:
    """A downgrade: the same check stood in the first version, which says the same of a file of today."""
    before = path.read_bytes()
    monkeypatch.setattr("gateway.spool.schema.MIGRATIONS", MIGRATIONS[:known])
    refused = rf"written by a newer fieldgate \(schema {PRESENT}, this one knows {known}\); install"
    with pytest.raises(StoreRefused, match=refused):
        open_store(path, None)
    assert path.read_bytes() == before, "a file that is refused is left as it is"


def test_the_fixture_is_of_its_schema(path: Path, schema: int) -> None:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (schema,)
        columns = [row[1] for row in connection.execute("PRAGMA table_info(streams)")]
    assert columns == ["stream", "next_segment", *(["produced"] if schema > 1 else [])]


@pytest.mark.parametrize("schema", [PRESENT])
def test_what_the_migrations_make_of_the_first_is_what_is_made_anew(tmp_path: Path, path: Path) -> None:
    """Tables, columns and indexes, whatever their order."""
    migrated = tmp_path / "migrated.db"
    migrated.write_bytes(gzip.decompress((FIXTURES / "spool-schema-1.db.gz").read_bytes()))
    open_store(migrated, None).close()
    assert shape(migrated) == shape(path)


def shape(path: Path) -> dict[str, set[object]]:
    with closing(sqlite3.connect(path)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {
            name: {(column[1], column[2], column[5]) for column in connection.execute(f"PRAGMA table_info({name})")}
            | {index[1] for index in connection.execute(f"PRAGMA index_list({name})")}
            for name in names
            if not name.startswith("sqlite_stat")
        }

"""Backup and restore: what comes back is what was there, and no identity is given out twice."""

from __future__ import annotations

import json
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli.app import app
from gateway.core.segments import SEGMENTS_PER_EPOCH
from gateway.runtime.statedir import hold_state_dir
from gateway.spool.schema import draw_epoch, migrate
from hil.devices.instruments import MeterUnit
from hil.devices.modbus import Endpoint, Unit
from tests.support.daemon import Gateway, Outside, until

CONFIG = 'include = ["conf.d/*.toml"]\ngateway = { id = "g", state_dir = "state" }\n[scada]\n'


def spool(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        migrate(connection, path, draw_epoch)
        connection.execute(
            "INSERT INTO segments (stream, segment, state, next_sequence) VALUES ('events', 7, 'open', 3)"
        )
        connection.execute("UPDATE streams SET next_segment = 8 WHERE stream = 'events'")


@pytest.fixture
def plant(tmp_path: Path) -> Path:
    folder = tmp_path / "plant"
    for name in ("conf.d", "state/journal", "state/reference", "secrets"):
        (folder / name).mkdir(parents=True)
    (folder / "plant.toml").write_text(CONFIG)
    (folder / "conf.d" / "http.toml").write_text("[http]\n")
    (folder / "plant.registers.lock").write_text(
        "# fieldgate register addresses, layout 1\nunit,address,area,state,key\n1,1000,device,reserved,gone\n"
    )
    (folder / "secrets" / "cloud").write_text("the password")
    spool(folder / "state" / "spool.db")
    spool(folder / "state" / "spool-lake.db")
    for name in ("audit.jsonl", "reference/assets.json", "journal/0001", "parked.db-wal", "in-use"):
        (folder / "state" / name).write_text(name)
    return folder / "plant.toml"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def backed_up(plant: Path) -> Path:
    archive = plant.parents[1] / "backup.tar.gz"
    result = run("backup", plant, "--output", archive)
    assert result.exit_code == 0, result.output
    return archive


def numbers(path: Path) -> tuple[int, list[str]]:
    """The next segment of events, and the states of all segments."""
    with closing(sqlite3.connect(path)) as connection:
        ((following,),) = connection.execute("SELECT next_segment FROM streams WHERE stream = 'events'")
        return following, [state for (state,) in connection.execute("SELECT state FROM segments")]


def test_a_backup_has_configuration_and_state_and_neither_secrets_nor_what_is_disposable(plant: Path) -> None:
    archive = backed_up(plant)
    assert archive.stat().st_mode & 0o777 == 0o600
    with tarfile.open(archive) as found:
        assert set(found.getnames()) == {
            *("configuration/plant.toml", "configuration/conf.d/http.toml", "configuration/plant.registers.lock"),
            *("state/spool.db", "state/spool-lake.db", "state/audit.jsonl", "state/reference/assets.json"),
            "manifest.json",
        }


def test_what_comes_back_is_what_was_there_and_goes_on_with_new_segments(plant: Path, tmp_path: Path) -> None:
    archive = backed_up(plant)
    target = tmp_path / "other" / "site.toml"
    result = run("restore", archive, "--config", target, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["spools"] == 2
    assert target.read_text() == CONFIG
    assert (target.parent / "conf.d" / "http.toml").exists()
    assert (target.parent / "state" / "audit.jsonl").read_text() == "audit.jsonl"
    assert numbers(plant.parent / "state" / "spool.db") == (8, ["open"])
    for name in ("spool.db", "spool-lake.db"):
        following, states = numbers(target.parent / "state" / name)
        assert following >= SEGMENTS_PER_EPOCH
        assert following % SEGMENTS_PER_EPOCH == 0
        assert states == ["closed"]


def test_nothing_that_is_there_is_overwritten(plant: Path) -> None:
    archive = backed_up(plant)
    assert "is there already; --state-only keeps it" in run("restore", archive, "--config", plant).output
    result = run("restore", archive, "--config", plant, "--state-only")
    assert (result.exit_code, "is not empty; --replace puts what is there aside" in result.output) == (1, True)
    (plant.parent / "state" / "audit.jsonl").write_text("newer")
    result = run("restore", archive, "--config", plant, "--state-only", "--replace")
    assert result.exit_code == 0, result.output
    (aside,) = plant.parent.glob("state.before-*")
    assert (aside / "audit.jsonl").read_text() == "newer"
    assert (plant.parent / "state" / "audit.jsonl").read_text() == "audit.jsonl"


def test_a_gateway_at_work_is_left_alone(plant: Path) -> None:
    archive = backed_up(plant)
    with hold_state_dir(plant.parent / "state"):
        result = run("restore", archive, "--config", plant, "--state-only", "--replace")
    assert (result.exit_code, "another gateway is at work here" in result.output) == (1, True)
    assert (plant.parent / "state" / "spool.db").exists()


def test_an_archive_that_is_damaged_or_none_is_refused_before_anything_is_done(plant: Path, tmp_path: Path) -> None:
    archive = backed_up(plant)
    whole = archive.read_bytes()
    target = tmp_path / "other" / "site.toml"
    for damaged in (whole[: len(whole) // 2], b"no archive", whole[:200] + b"\0\0\0\0" + whole[204:]):
        archive.write_bytes(damaged)
        result = run("restore", archive, "--config", target)
        assert result.exit_code == 1, result.output
        assert not target.exists()
        assert not (tmp_path / "other" / "state").exists()


def test_a_backup_of_another_gateway_is_refused(plant: Path) -> None:
    archive = backed_up(plant)
    plant.write_text(CONFIG.replace('id = "g"', 'id = "h"'))
    result = run("restore", archive, "--config", plant, "--state-only", "--replace")
    assert (result.exit_code, "is of gateway g, and" in result.output) == (1, True)
    assert (plant.parent / "state" / "spool.db").exists()


RUNNING = """
[gateway]
id = "plant"
state_dir = "state"
[devices.meter]
link = {{ modbus_tcp = "127.0.0.1:{plc}" }}
unit = 2
tags.voltage = {{ register = "holding 0", type = "float32", every = "50ms" }}
[uplink.cloud]
mqtt = "mqtt://127.0.0.1:1"
[http]
listen = "127.0.0.1:<http>"
"""


def segments(state_dir: Path) -> dict[str, int]:
    """The highest segment of each stream of which a record is there."""
    with closing(sqlite3.connect(f"file:{state_dir}/spool.db?mode=ro", uri=True)) as connection:
        return dict(connection.execute("SELECT stream, max(segment) FROM records GROUP BY stream"))


@pytest.mark.slow
def test_a_gateway_is_backed_up_while_it_runs_and_the_restored_one_gives_out_no_identity_again(tmp_path: Path) -> None:
    with Outside() as outside:
        endpoint = Endpoint(Unit(2, MeterUnit(1)))
        outside.run(endpoint.start())
        (tmp_path / "old").mkdir()
        with Gateway(tmp_path / "old", RUNNING.format(plc=endpoint.port)) as gateway:
            gateway.start()
            until(lambda: "events" in segments(tmp_path / "old" / "state"), "a record waits")
            archive = tmp_path / "backup.tar.gz"
            result = run("backup", gateway.config, "--output", archive)
            assert result.exit_code == 0, result.output
            bundle = tmp_path / "bundle.tar.gz"
            assert run("support", gateway.config, "--output", bundle).exit_code == 0
            with tarfile.open(bundle) as found:
                names = {name.partition("/")[2] for name in found.getnames()}
            assert names >= {"gateway/api-status", "gateway/api-alarms", "gateway/metrics", "gateway/readyz"}, names
            assert gateway.is_ready()
        given = segments(tmp_path / "old" / "state")
        (tmp_path / "new").mkdir()
        with Gateway(tmp_path / "new", RUNNING.format(plc=endpoint.port)) as gateway:
            result = run("restore", archive, "--config", gateway.config, "--state-only")
            assert result.exit_code == 0, result.output
            waiting = segments(tmp_path / "new" / "state")
            assert waiting.items() <= given.items()
            gateway.start()
            until(lambda: segments(tmp_path / "new" / "state")["events"] > given["events"], "it gives out new ones")
            new = segments(tmp_path / "new" / "state")
            assert new["events"] // SEGMENTS_PER_EPOCH > given["events"] // SEGMENTS_PER_EPOCH
            assert gateway.terminate() == 0
        outside.run(endpoint.stop())

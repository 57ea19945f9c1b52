"""`fieldgate spool` on a real file, beside a store that is open and being written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateway.cli.app import app
from gateway.core.record import Stream
from gateway.runtime.statedir import hold_state_dir
from gateway.spool.records import Grace
from gateway.spool.store import Store
from tests.support.spool import encoded


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    file = tmp_path / "plant.toml"
    file.write_text(
        f'[gateway]\nid = "plant"\nstate_dir = "{tmp_path}"\n[links.l]\nmodbus_tcp = "127.0.0.1:1502"\n'
        '[devices.d]\nlink = "l"\nunit = 1\ntags.t = { register = "holding 1", type = "int16", every = "1s" }\n'
    )
    return file


@pytest.fixture
def store(configuration: Path) -> Any:
    store = Store(configuration.parent / "spool.db", bytes_max=1 << 30, grace=Grace(10**9, 1 << 20))
    yield store
    store.close()


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["spool", *map(str, arguments)])


def test_status_counts_what_waits_and_what_is_kept_beside_an_open_store(store: Store, configuration: Path) -> None:
    keys = store.append([encoded(n, samples=5) for n in range(4)], 0)
    store.acknowledge(keys[:1], now_ns=1)
    result = run("status", configuration, "--json")
    found = json.loads(result.stdout)
    counts = {(row["stream"], row["state"]): (row["records"], row["samples"]) for row in found["records"]}
    assert counts["samples", "waiting"] == (3, 15)
    assert counts["samples", "kept"] == (1, 5)
    assert {row["stream"]: row["produced"] for row in found["streams"]} == {
        "aggregates": 0,
        "events": 0,
        "samples": 4,
        "calculations": 0,
        "multivariate": 0,
    }
    assert "waiting" in run("status", configuration).stdout


def test_list_chooses_by_state_and_stream(store: Store, configuration: Path) -> None:
    store.append([encoded(1), encoded(2, stream=Stream.EVENTS)], 0)
    rows = json.loads(run("list", configuration, "--stream", "events", "--state", "waiting", "--json").stdout)
    assert [(row["state"], row["stream"], row["sequence"]) for row in rows] == [("waiting", "events", 1)]
    assert "events" in run("list", configuration).stdout


def test_export_writes_records_as_they_go_upstream(store: Store, configuration: Path, tmp_path: Path) -> None:
    (key,) = store.append([encoded(41)], 0)
    out = tmp_path / "out.jsonl"
    assert run("export", configuration, "--output", out).exit_code == 0
    assert json.loads(out.read_bytes()) == {
        "gateway": "plant",
        "stream": "samples",
        "segment": key.segment,
        "sequence": 1,
        "n": 41,
    }


def test_verify_names_a_record_that_is_not_what_was_stored(store: Store, configuration: Path) -> None:
    keys = store.append([encoded(n, size=200) for n in range(3)], 0)
    assert run("verify", configuration).exit_code == 0
    store.connection.execute("UPDATE records SET body = substr(body, 1, 50) WHERE sequence = 2")
    result = run("verify", configuration, "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert not found["sound"]
    assert f"samples {keys[1].segment}/2" in found["faults"][0]


def test_compact_gives_the_disk_back_and_waits_for_no_running_gateway(store: Store, configuration: Path) -> None:
    store.grace = Grace()
    store.acknowledge(store.append([encoded(n, size=20_000) for n in range(50)], 0), now_ns=1)
    with hold_state_dir(configuration.parent):
        refused = run("compact", configuration)
        assert refused.exit_code == 1
        assert "another gateway is at work" in refused.stderr
    store.close()
    found = json.loads(run("compact", configuration, "--json").stdout)
    assert found["bytes_after"] < found["bytes_before"] / 5


def test_without_a_spool_the_reason_is_said(configuration: Path) -> None:
    result = run("status", configuration)
    assert result.exit_code == 1
    assert "there is no spool yet" in result.stderr

"""Determinism and replay: one journal, whoever plays it and however it is cut, gives the same bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gateway.cli.app import app
from gateway.core.cycle import Cycle, Finished, run_cycle
from gateway.runtime.replaying import Player
from gateway.spool.journal.files import Reading
from gateway.spool.journal.format import Head
from tests.support.lives import Life, stored
from tests.support.plants import CYCLE_NS, plant

SEED = 7
LAST = 900
SHORT = 150
CONFIG = """
[gateway]
id = "lab"
[links.plc]
modbus_tcp = "127.0.0.1:502"
[devices.d0]
link = "plc"
unit = 1
tags.t0 = { register = "holding 0", type = "float64", windows = ["2s"], alarm = { high = 51 } }
tags.t1 = { register = "holding 8", type = "float64", windows = ["5s"] }
tags.other = { register = "holding 12", type = "uint16", windows = ["5s"] }
[uplink.cloud]
mqtt = "mqtt://127.0.0.1"
streams = ["events", "aggregates", "samples"]
aggregates_every = "1s"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state directory of an engine that was stopped and started again in the middle."""
    folder = tmp_path_factory.mktemp("state")
    for last in (LAST // 2, LAST):
        life = Life(folder, plant())
        life.feed(SEED, last)
        if last == LAST:
            cycle = Cycle(life.number + 1, 10**15, influences=(Finished(),))
            life.continuity.take(cycle, run_cycle(life.engine, cycle))
        life.end()
    return folder


def replay(*arguments: object) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["replay", *map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output
    told: dict[str, Any] = json.loads(result.stdout)
    return told


def split(folder: Path, parts: int) -> Iterator[tuple[Head, Cycle]]:
    """The journal's cycles, the samples of each cut into so many steps of one time."""
    for head, cycle in Reading(folder / "journal").cycles():
        count = len(cycle.samples)
        for part in range(parts):
            samples = cycle.samples[part * count // parts : (part + 1) * count // parts]
            is_end = part == parts - 1
            told = tuple(one for one in cycle.influences if (is_end if isinstance(one, Finished) else part == 0))
            yield head, replace(cycle, samples=samples, influences=told)


def test_a_replay_of_the_journal_gives_the_records_that_were_put_out(folder: Path, tmp_path: Path) -> None:
    told = replay(folder, "--records", tmp_path / "records.jsonl")
    assert min(told["records"].get(stream, 0) for stream in ("aggregates", "calculations", "events", "samples")) > 5
    lines = [json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()]
    assert told["begins_fresh"] and not told["holes"] and not told["damaged"]
    assert told["cycles"] == LAST + 1
    found = stored(folder)
    assert told["records"] == {stream: len(rows) for stream, rows in found.items() if rows}
    for stream, rows in found.items():
        of_stream = [line for line in lines if line["stream"] == stream]
        assert [line["sequence"] for line in of_stream] == list(range(1, len(rows) + 1))
        for line, (_, _, body) in zip(of_stream, rows, strict=True):
            assert {**line, "gateway": "", "segment": 0} == {
                "gateway": "",
                "stream": stream,
                "segment": 0,
                "sequence": line["sequence"],
                **json.loads(body),
            }


def test_batches_may_be_cut_anywhere_and_the_bytes_stay(folder: Path) -> None:
    whole = replay(folder)["digest"]
    for parts in (2, 7, 40):
        player = Player(gateway="plant", spec=None, write=lambda line: None)
        assert player.play(split(folder, parts)).digest == whole, f"in {parts} parts"


def test_without_the_jit_the_bytes_stay(folder: Path) -> None:
    expected = replay(folder, "--until", SHORT)
    command = [sys.executable, "-m", "gateway", "replay", str(folder), "--until", str(SHORT), "--json"]
    plain = subprocess.run(
        command, env={**os.environ, "NUMBA_DISABLE_JIT": "1"}, capture_output=True, text=True, timeout=100, check=False
    )
    assert plain.returncode == 0, plain.stderr
    assert json.loads(plain.stdout)["digest"] == expected["digest"]
    assert sum(expected["records"].values()) > 10


def test_a_replay_for_another_configuration_finds_its_tags_by_name(folder: Path, tmp_path: Path) -> None:
    config = tmp_path / "lab.toml"
    config.write_text(CONFIG)
    told = replay(folder, "--config", config, "--records", tmp_path / "records.jsonl")
    assert told["samples_without_tag"] > 0.8 * told["samples"] > 0
    lines = [json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()]
    assert {line["gateway"] for line in lines} == {"lab"}
    assert {name for line in lines for name in line.get("tags", ())} == {"d0.t0", "d0.t1"}
    alarms = [kind for line in lines if line["stream"] == "events" for kind in line["kind"]]
    assert "alarm.high.raised" in alarms


def test_a_paced_replay_takes_as_long_as_it_should(folder: Path) -> None:
    asked: list[float] = []
    player = Player(gateway="plant", spec=None, write=lambda line: None, pause=asked.append, speed=50.0)
    player.play((head, cycle) for head, cycle in Reading(folder / "journal").cycles() if cycle.number <= 100)
    assert sum(asked) == pytest.approx(99 * CYCLE_NS / 1e9 / 50.0)


@pytest.mark.parametrize("shape", ["wide", "long", "parquet"])
def test_a_table_is_replayed_for_a_configuration(tmp_path: Path, shape: str) -> None:
    config = tmp_path / "lab.toml"
    config.write_text(CONFIG)
    rows = [(1_000 + 0.1 * n, 50 + n % 7, n) for n in range(60)]
    table = tmp_path / "table.csv"
    if shape == "wide":
        lines = ["time,d0.t0,d0.other,lost.tag"] + [f"{t:.1f},{a},{b},1" for t, a, b in rows]
    else:
        lines = ["time,tag,value"]
        lines += [
            f"{t:.1f},{tag},{v}" for t, a, b in rows for tag, v in (("d0.t0", a), ("d0.other", b), ("lost.tag", 1))
        ]
    table.write_text("\n".join(lines))
    if shape == "parquet":
        pa = pytest.importorskip("pyarrow")
        from pyarrow import csv, parquet

        table = tmp_path / "table.parquet"
        types = csv.ConvertOptions(column_types={"time": pa.float64()})
        parquet.write_table(csv.read_csv(tmp_path / "table.csv", convert_options=types), table)
    records = tmp_path / "records.jsonl"
    told = replay(table, "--config", config, "--records", records)
    assert told["samples"] == 120
    samples = [line for line in map(json.loads, records.read_text().splitlines()) if line["stream"] == "samples"]
    values = [
        value
        for line in samples
        for place, value in zip(line["tag"], line["value"], strict=True)
        if line["tags"][place] == "d0.other"
    ]
    assert values == list(range(60))
    assert samples[0]["time_ns"][0] == 1_000 * 10**9


def test_what_cannot_be_replayed_says_why(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    config = tmp_path / "lab.toml"
    config.write_text(CONFIG)
    for text, arguments, code, words in (
        ("time,d0.t0\n1,2\n", (table,), 2, "add --config"),
        ("time,wrong\n1,2\n", (table, "--config", config), 2, "no column is named like a tag"),
        ("time,d0.t0\nnoon,2\n", (table, "--config", config), 2, "table.csv:2: 'noon' is no time"),
        ("time,d0.t0\n1,2,3\n", (table, "--config", config), 2, "table.csv:2: 3 cells"),
        ("time,d0.t0\n", (table, "--config", config), 1, "nothing to replay"),
        ("", (tmp_path,), 1, "there is no journal in it"),
    ):
        table.write_text(text)
        result = CliRunner().invoke(app, ["replay", *map(str, arguments)])
        assert (result.exit_code, words in result.output) == (code, True), result.output

"""`fieldgate score` tells what the daemon would have told."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from click.testing import CliRunner
from PIL import Image

from gateway.cli.score import command
from gateway.core.types import NS_PER_S, Float64s
from gateway.runtime.scoring import score
from hil.recordings import load
from tests.support.engine import batch, engine, tag

EVERY_S = 60
ROWS = 2_000
SPIKE_AT = 1_800


def write(path: Path, values: Float64s, missing: int | None = None) -> Path:
    lines = [
        f"2024-01-0{1 + i * EVERY_S // 86_400}T{i * EVERY_S // 3600 % 24:02d}:{i % 60:02d}:00,{v:.3f},1"
        for i, v in enumerate(values)
    ]
    if missing is not None:
        lines[missing] = lines[missing].rsplit(",", 2)[0] + ",,1"
    path.write_text("time,flow,state\n" + "\n".join(lines) + "\n")
    return path


@pytest.fixture
def history(tmp_path: Path) -> Path:
    values = np.random.default_rng(3).normal(50, 1, ROWS)
    values[SPIKE_AT] = 90.0
    return write(tmp_path / "history.csv", values, missing=100)


def test_a_spike_in_a_history_is_flagged_with_its_time_and_reason_and_drawn(history: Path, tmp_path: Path) -> None:
    svg = tmp_path / "flow.svg"
    result = CliRunner().invoke(
        command, [str(history), "--json", "--column", "flow", "--svg", str(svg), "--event", "0.8"]
    )
    assert result.exit_code == 0, result.output
    read = json.loads(result.stdout)
    assert read["samples"] == ROWS
    found = [one for one in read["stretches"] if one["first"] == SPIKE_AT]
    assert len(read["stretches"]) == len(found) == 1
    assert (found[0]["column"], found[0]["from"], found[0]["reasons"]) == ("flow", "2024-01-02T06:00:00Z", ["spike"])
    drawn = svg.read_text()
    assert drawn.startswith("<svg") and drawn.rstrip().endswith("</svg>")
    assert "<title>spike</title>" in drawn
    assert "nan" not in drawn


def test_the_table_names_every_column_and_a_constant_one_is_never_flagged(history: Path) -> None:
    result = CliRunner().invoke(command, [str(history), "--event", "0.8"])
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0] == f"{ROWS} samples, 1 stretches flagged"
    assert "state" not in result.stdout


def test_parquet_is_read_as_csv_is_and_drawn_as_png_and_in_the_terminal(history: Path, tmp_path: Path) -> None:
    lines = [line.split(",") for line in history.read_text().splitlines()[1:]]
    moments = [datetime.fromisoformat(line[0]) for line in lines]
    flow = [float(line[1]) if line[1] else None for line in lines]
    columns = {"time": pyarrow.array(moments, pyarrow.timestamp("us")), "flow": flow, "note": ["x"] * len(lines)}
    parquet, png = tmp_path / "history.parquet", tmp_path / "flow.png"
    pyarrow.parquet.write_table(pyarrow.table(columns), parquet)
    result = CliRunner().invoke(command, [str(parquet), "--png", str(png), "--plot", "--json"])
    assert result.exit_code == 0, result.output
    csv = CliRunner().invoke(command, [str(history), "--column", "flow", "--json"])
    assert json.loads(result.stdout) == json.loads(csv.stdout)
    with Image.open(png) as image:
        assert (image.format, image.size) == ("PNG", (1200, 580))
        assert len(image.getcolors(1 << 20) or []) > 10
    assert any("⣿" in line or "⡇" in line for line in result.stderr.splitlines())
    assert "▲" in result.stderr


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"time": [1.0, 2.0]}, ": a time column and at least one value column are needed"),
        ({"time": ["a"], "x": [1.0]}, ": the first column, 'time', is string; write timestamps or seconds since 1970"),
        ({"time": [1.0, None], "x": [1.0, 2.0]}, ": column 'time' has rows without a time; take them out"),
        ({"time": [1e12], "x": [1.0]}, ": column 'time' has numbers that are no seconds since 1970"),
        ({"time": [1.0], "x": ["a"]}, ": no column after the first holds numbers"),
    ],
)
def test_a_parquet_file_that_is_no_history_says_so(tmp_path: Path, columns: dict[str, object], message: str) -> None:
    path = tmp_path / "wrong.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    result = CliRunner().invoke(command, [str(path)])
    assert (result.exit_code, result.stderr) == (2, f"{path}{message}\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time\n1\n", ":1: a time column and at least one value column are needed; separate them by commas"),
        ("time,a\n1,2\nsoon,3\n", ":3: 'soon' is no time; write ISO 8601, a number since 1970, or give --time-format"),
        ("time,a\n1,2,3\n", ":2: 3 cells, the header has 2"),
        ("time,a\n", ": no rows after the header"),
        ("time,a\n1,x\n2,\n", ": no column after the first holds numbers"),
        (
            "time,a\n1700000000,1\n9e18,1\n",
            ":3: '9e18' is no time; write ISO 8601, a number since 1970, or give --time-format",
        ),
        ("time,a\n1,2\n\n1,2,3\n", ":4: 3 cells, the header has 2"),
    ],
)
def test_a_file_that_cannot_be_read_says_where_and_what_to_do(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "wrong.csv"
    path.write_text(text)
    result = CliRunner().invoke(command, [str(path)])
    assert (result.exit_code, result.stderr) == (2, f"{path}{message}\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x93NUMPY\x01\x00v\x00", "is no UTF-8 text; save it as CSV in UTF-8, or name it .parquet"),
        ("time,Temp \xb0C\n1,2\n".encode("latin-1"), "is no UTF-8 text; save it as CSV in UTF-8, or name it .parquet"),
        (b"", "1: a time column and at least one value column are needed; separate them by commas"),
    ],
)
def test_a_file_that_is_no_text_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "wrong.csv"
    path.write_bytes(content)
    result = CliRunner().invoke(command, [str(path)])
    assert (result.exit_code, message in result.stderr) == (2, True), result.output


@pytest.mark.parametrize(
    ("head", "time", "arguments", "encoding"),
    [
        (
            "Zeit;Vorlauf \xb0C;Notiz",
            lambda n: f"01.02.2024 {n // 60:02d}:{n % 60:02d}",
            ["--time-format", "%d.%m.%Y %H:%M"],
            "utf-8",
        ),
        ("when;x;note", lambda n: str((1_704_067_200 + 60 * n) * 1_000), [], "utf-16"),
        ("when\tx\tnote", lambda n: str((1_704_067_200 + 60 * n) * 1_000_000_000), [], "utf-8-sig"),
        ("when;x;note", lambda n: datetime.fromtimestamp(1_704_067_200 + 60 * n, UTC).isoformat(sep=" "), [], "utf-8"),
    ],
)
def test_a_history_is_read_as_other_programs_write_it(
    tmp_path: Path, head: str, time: Callable[[int], str], arguments: list[str], encoding: str
) -> None:
    path = tmp_path / "export.csv"
    between = "\t" if "\t" in head else ";"
    lines = [between.join((time(n), f"{50 + n % 7},5" if n != 900 else "900,0", "ok")) for n in range(1_000)]
    path.write_text("\r\n".join([head, *reversed(lines), ""]), encoding=encoding)
    result = CliRunner().invoke(command, [str(path), "--json", *arguments])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["samples"] == 1_000
    assert 900 in [one["first"] for one in found["stretches"]]
    assert "not in the order of their times; sorted" in result.stderr
    assert "no numbers in" in result.stderr


def test_the_command_scores_exactly_as_the_engine_does() -> None:
    recording = load("machine_temperature")
    values, times_ns = recording.value[:2_000].astype(np.float64), recording.time_s[:2_000] * NS_PER_S
    scored = score(values, times_ns)
    gate = engine(tag(windows_ns=(60 * NS_PER_S,)))
    for i, (value, time_ns) in enumerate(zip(values.tolist(), times_ns.tolist(), strict=True)):
        gate.step(time_ns, batch((0, 192, time_ns, time_ns, value)))
        live = gate.view.live(np.zeros(1, np.int32))[0]
        for name, got in (("event", live["score"]), ("persistent", live["persistent"])):
            assert np.isclose(scored[i][name], got, atol=1e-6, equal_nan=True), (i, name)
        assert scored[i]["reasons"] == live["reasons"], i


def test_scores_of_a_beginning_do_not_change_with_what_follows() -> None:
    recording = load("ambient_temperature")
    values, times_ns = recording.value.astype(np.float64), recording.time_s * NS_PER_S
    whole = score(values, times_ns)
    for length in (1, 500, len(values) // 2):
        assert score(values[:length], times_ns[:length]).tobytes() == whole[:length].tobytes()


def digest() -> str:
    recording = load("machine_temperature")
    values, times_ns = recording.value[:3_000].astype(np.float64), recording.time_s[:3_000] * NS_PER_S
    return hashlib.sha256(score(values, times_ns).tobytes()).hexdigest()


def test_scores_have_the_same_bytes_with_the_jit_off_long_after_the_warm_up() -> None:
    call = [sys.executable, "-W", "error", "-c"]
    call += ["from tests.integration.test_cli_score import digest; print(digest())"]
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    root = Path(__file__).parents[2]
    plain = subprocess.run(call, env=environment, cwd=root, capture_output=True, text=True, timeout=60)
    assert plain.returncode == 0, plain.stderr
    assert plain.stdout.strip() == digest()

"""`fieldgate registers`: what it prints is what is served, and it changes nothing unasked."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import types
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from gateway.cli import registers as cli
from gateway.serving.scada.lock import load
from gateway.settings.schema import Settings
from tests.support.scada import boiler_house, map_of


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return boiler_house(lock_file=tmp_path / "plant.registers.lock")


def run(settings: Settings, *arguments: str, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str, str]:
    """The command with the configuration's reader replaced by the settings themselves."""
    common = types.ModuleType("gateway.cli.common")
    common.load_or_exit = lambda path: settings  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gateway.cli.common", common)
    result = CliRunner().invoke(cli.command, [__file__, *arguments])
    return result.exit_code, result.stdout, result.stderr


def test_the_csv_is_the_map_and_nothing_but_the_map(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, err = run(settings, "--format", "csv", monkeypatch=monkeypatch)
    assert code == 0
    lines = list(csv.DictReader(out.splitlines()))
    registers = map_of(settings)
    assert len(lines) == sum(1 for unit in registers.units for _ in registers.points(unit))
    assert len({(line["unit"], line["key"]) for line in lines}) == len(lines)
    by_key = {(line["unit"], line["key"]): line for line in lines}
    assert by_key["1", "boiler.valve/value"] == {
        "unit": "1",
        "address": "5010",
        "modicon": "45011",
        "registers": "2",
        "type": "float32",
        "access": "read",
        "key": "boiler.valve/value",
        "engineering_unit": "%",
    }
    assert by_key["100", "control.boiler/setpoint"]["access"] == "read/write"
    assert "would change" in err


def test_the_json_says_the_same(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    _, text, _ = run(settings, "--format", "csv", monkeypatch=monkeypatch)
    _, document, _ = run(settings, "--format", "json", monkeypatch=monkeypatch)
    points = json.loads(document)["points"]
    assert [{key: str(value) for key, value in point.items()} for point in points] == list(
        csv.DictReader(text.splitlines())
    )
    assert json.loads(document)["lock_would_change"] is True


def test_the_table_can_be_read_and_cut_down_to_a_unit(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = run(settings, "--unit", "2", monkeypatch=monkeypatch)
    assert code == 0
    assert out.splitlines()[0].split()[:3] == ["unit", "address", "modicon"]
    assert {line.split()[0] for line in out.splitlines()[1:]} == {"2"}
    assert any(
        line.split()[1:7] == ["5000", "45001", "4", "uint64", "read", "meter.energy/value"] for line in out.splitlines()
    )


def test_the_markdown_has_a_table_for_each_unit(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    _, out, _ = run(settings, "--format", "markdown", monkeypatch=monkeypatch)
    assert [line for line in out.splitlines() if line.startswith("#")] == ["## Unit 1", "## Unit 2", "## Unit 100"]
    assert "| 5000 | 45001 | 4 | uint64 | read | meter.energy/value | Wh |" in out
    tables = [line.count("|") for line in out.splitlines() if line.startswith("|")]
    assert set(tables) == {8}


def test_kepserverex_gets_one_device_in_a_file_with_addresses_of_six_digits(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, err = run(settings, "--format", "kepware", monkeypatch=monkeypatch)
    assert (code, err) == (2, "one file is one device there: name one with --unit: 1, 2, 100\n")
    _, out, _ = run(settings, "--format", "kepware", "--unit", "1", monkeypatch=monkeypatch)
    lines = {line["Description"]: line for line in csv.DictReader(out.splitlines())}
    value = lines["boiler.temperature/value"]
    shown = ("Tag Name", "Address", "Data Type", "Client Access", "Scan Rate", "Eng Units")
    assert [value[key] for key in shown] == ["boiler.temperature.value", "405001", "Float", "RO", "1000", "°C"]
    assert lines["boiler.temperature/1min/mean"]["Tag Name"] == "boiler.temperature.1min.mean"
    assert (lines["boiler.temperature/bad"]["Address"], lines["boiler.temperature/bad"]["Data Type"]) == (
        "105005",
        "Boolean",
    )
    assert lines["boiler.starts/value"]["Data Type"] == "LLong"
    _, out, _ = run(settings, "--format", "kepware", "--unit", "100", monkeypatch=monkeypatch)
    assert "control.boiler.setpoint,400101,Float,1,R/W" in out


def test_a_unit_that_shows_nothing_is_named_beside_those_that_do(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, err = run(settings, "--unit", "9", monkeypatch=monkeypatch)
    assert (code, err) == (2, "unit 9 shows nothing; there are 1, 2, 100\n")


def test_the_lock_is_written_only_when_asked(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.scada is not None
    path = settings.scada.lock_file
    _, before, _ = run(settings, monkeypatch=monkeypatch)
    assert not path.exists()
    code, written, err = run(settings, "--write-lock", monkeypatch=monkeypatch)
    assert (code, written, err) == (0, before, f"{path}: written\n")
    assert load(path) == map_of(settings).lock
    _, _, err = run(settings, monkeypatch=monkeypatch)
    assert err == f"{path}: up to date\n"


def test_a_lock_that_cannot_be_trusted_stops_the_command(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.scada is not None
    settings.scada.lock_file.write_text("something else\n")
    code, out, err = run(settings, "--write-lock", monkeypatch=monkeypatch)
    assert (code, out) == (2, "")
    assert f"{settings.scada.lock_file}:1:" in err
    assert settings.scada.lock_file.read_text() == "something else\n"


def test_without_a_scada_section_there_is_nothing_to_print(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    code, _, err = run(msgspec.structs.replace(settings, scada=None), monkeypatch=monkeypatch)
    assert code == 2
    assert "no [scada] section" in err


def test_the_map_is_printed_without_importing_numba() -> None:
    program = (
        "import sys; from tests.support import scada; "
        "from gateway.cli import registers; "
        "scada.points_of(scada.map_of(scada.boiler_house())); "
        "sys.exit('numba' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0

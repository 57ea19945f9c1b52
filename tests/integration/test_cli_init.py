"""`fieldgate init`: a first configuration that runs, by questions or by options."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli.app import app
from gateway.settings.load import examine
from gateway.settings.migrations import PRESENT


def init(file: Path, *options: str, answers: str = "") -> Result:
    return CliRunner().invoke(app, ["init", str(file), *options], input=answers)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "plant.toml"


def test_its_questions_make_a_configuration_that_is_sound_and_not_odd(file: Path) -> None:
    answers = "boiler-house\n10.0.0.5:502\nmqtt://10.0.0.9\nmqtts://broker.example\n127.0.0.1:1502\n\n"
    result = init(file, answers=answers)
    assert result.exit_code == 0, result.output
    assert f"{file} is written, with 2 tags" in result.output
    examined = examine(file)
    assert examined.warnings == ()
    assert f"\nversion = {PRESENT} " in file.read_text(), "the keys that it is written by"
    settings = examined.settings
    assert settings.gateway_id == "boiler-house"
    assert [tag.name for tag in settings.tags] == ["plc.first", "sensor.temperature"]
    assert len(settings.uplinks) == 1
    assert settings.scada is not None
    assert settings.http is not None
    assert settings.http.port == 9464


def test_with_yes_it_asks_nothing_and_leaves_out_what_nobody_said(file: Path) -> None:
    result = init(file, "--yes", "--id", "g", "--modbus", "10.0.0.5", "--tag-list", "abb_b23", "--unit", "7", "--json")
    assert result.exit_code == 0, result.output
    settings = examine(file).settings
    assert json.loads(result.stdout) == {"file": str(file), "gateway": "g", "tags": len(settings.tags)}
    assert len(settings.tags) > 5
    assert (settings.uplinks, settings.scada) == ((), None)
    assert settings.http is not None


def test_what_cannot_be_read_is_told_and_nothing_is_written(file: Path) -> None:
    result = init(file, "--yes", "--modbus", '10.0.0.5:x"\n[surprise]')
    assert result.exit_code == 1
    assert "links.plc.modbus_tcp" in result.output
    assert "surprise" in result.output, "as a text, and not as a table"
    assert not file.exists()


def test_a_file_that_is_there_stays_as_it_is(file: Path) -> None:
    file.write_text("mine")
    assert init(file, "--yes").exit_code == 2
    assert file.read_text() == "mine"


def test_a_name_that_is_none_is_refused_before_anything_else_is_asked(file: Path) -> None:
    result = init(file, "--id", "boiler house")
    assert result.exit_code == 2
    assert "Modbus" not in result.output

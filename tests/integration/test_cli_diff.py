"""`fieldgate diff`: what a reload would change and restart."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
from click.testing import CliRunner, Result

from gateway.cli.app import app
from tests.support.settings import HEAD, LOOP

Run: TypeAlias = Callable[..., Result]
UPLINK = '[uplink.u]\nmqtt = "mqtt://127.0.0.1"\n'
TEXT = HEAD + LOOP + UPLINK + "[http]\n[scada]\n"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def of(old: str, new: str, *options: str) -> Result:
        for name, text in (("old.toml", old), ("new.toml", new)):
            (tmp_path / name).write_text(text, encoding="utf-8")
        return CliRunner().invoke(app, ["diff", str(tmp_path / "old.toml"), str(tmp_path / "new.toml"), *options])

    return of


def test_nothing_changes_nothing(run: Run) -> None:
    result = run(TEXT, TEXT + "# a comment\n")
    assert result.exit_code == 0
    assert result.output.splitlines()[0] == "would restart: nothing"


def test_each_difference_is_named_with_what_restarts_and_what_goes_on(run: Run) -> None:
    new = TEXT.replace("setpoint = 50", "setpoint = 60").replace(UPLINK, "")
    new += '[devices.new]\nlink = "plc"\ntags.flow = { register = "holding 30" }\n'
    found = json.loads(run(TEXT, new, "--json").output)
    assert found["differences"] == [
        "added device new",
        "added tag new.flow",
        "changed loop c: setpoint",
        "removed uplink u",
        "changed scada: units, tags",
    ]
    assert found["restarts"] == ["the plant (links, devices, loops, registers)", "the uplinks"]
    assert found["keeps"][1] == "0 of 1 loops as they are, and no loop that stays loses a cycle"
    assert found["refused"] == []


def test_what_cannot_change_is_refused_with_exit_code_1(run: Run) -> None:
    result = run(TEXT, TEXT.replace('id = "g"', 'id = "h"'))
    assert result.exit_code == 1
    assert "refused: gateway_id cannot change while running; restart the service" in result.output


def test_a_file_that_is_wrong_is_told_like_check_tells_it(run: Run) -> None:
    result = run(TEXT, TEXT + "[surprise]\n")
    assert result.exit_code == 2
    assert "surprise: is not a setting here" in result.output


def test_without_a_gateway_at_work_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "plant.toml").write_text(TEXT.replace('id = "g"', 'id = "g"\nstate_dir = "state"'))
    result = CliRunner().invoke(app, ["diff", str(tmp_path / "plant.toml")])
    assert result.exit_code == 1
    assert "no gateway is at work here" in result.output

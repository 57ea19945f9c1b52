"""Poll groups and what a read of a device may be: from the file to the plan."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from gateway.cli.app import app
from gateway.protocol.modbus.plan import plan
from gateway.settings.planning import points_of
from tests.support.settings import examine_text

TEXT = """
[gateway]
id = "g"
[links.bus]
modbus_tcp = "10.0.0.5:502"
[polls.slow]
every = "10s"
phase = "2s"
jitter = "500ms"
[tag_lists.two]
a = { register = "holding 0", poll = "slow" }
b = { register = "holding 1", poll = "slow" }
c = { register = "holding 4", every = "10s" }
d = { register = "holding 9", every = "10s" }
[devices.one]
link = "bus"
tag_list = "two"
[devices.other]
link = "bus"
unit = 2
registers_per_read = 3
holes = ["holding 5..8", "coil 1"]
tag_list = "two"
"""


def test_tags_of_a_group_are_read_at_its_phase_and_apart_from_others_of_the_same_period(tmp_path: Path) -> None:
    settings = examine_text(tmp_path, TEXT).settings
    blocks = plan(points_of(settings.tags))
    read = {(block.device, block.place): (block.phase_ns, block.jitter_ns) for block in blocks}
    slow = (2_000_000_000, 500_000_000)
    assert read["one", "holding 0-1"] == read["other", "holding 0-1"] == slow
    assert read["one", "holding 4-9"][1] == 0
    assert {place for device, place in read if device == "other"} == {"holding 0-1", "holding 4", "holding 9"}


def test_a_group_that_nobody_names_is_told(tmp_path: Path) -> None:
    (warning,) = examine_text(tmp_path, TEXT + '[polls.never]\nevery = "1s"\n').warnings
    assert (warning.key, warning.message) == ("polls.never", "is used by no tag")


def test_the_plan_tells_phases_and_what_the_jitter_adds_to_an_age(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(TEXT, encoding="utf-8")
    (link,) = json.loads(CliRunner().invoke(app, ["plan", str(path), "--json"]).stdout)["links"]
    slow = [read for read in link["reads"] if read["jitter_ms"]]
    assert [(read["address"], read["phase_ms"], read["jitter_ms"]) for read in slow] == [(0, 2_000, 500)] * 2
    ages = {group["jitter_ms"]: group["worst_age_ms"] for group in link["groups"]}
    assert ages[500] == ages[0] + 500
    printed = CliRunner(env={"COLUMNS": "120"}).invoke(app, ["plan", str(path)])
    assert printed.exit_code == 0
    assert "10s +500ms" in printed.stdout
    assert "2000 ms" in printed.stdout

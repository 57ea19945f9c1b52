"""Keys that stand in another table since a version: understood, warned of and moved, however TOML writes them."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli.app import app
from gateway.settings import moves
from gateway.settings.load import examine, load
from gateway.settings.moves import ANY, CannotMove, Moved, move, same, with_moved
from gateway.settings.problems import ConfigurationError

MOVES = (
    Moved(1, ("gateway", "listen"), ("http", "listen")),
    Moved(1, ("devices", ANY, "answer_within"), ("devices", ANY, "link", "response_timeout")),
)
OLD = """# Plant 7.
[gateway]
id = "a"
listen = "127.0.0.1:9464"  # the page
state_dir = "state"

[devices.pump]
link = { modbus_tcp = "127.0.0.1:502" }  # at the door
answer_within = "700ms"
tags.a = { register = "holding 0" }
"""
NEW = """# Plant 7.
version = 2

[gateway]
id = "a"
state_dir = "state"

[devices.pump]
link = { response_timeout = "700ms", modbus_tcp = "127.0.0.1:502" }  # at the door
tags.a = { register = "holding 0" }

[http]
listen = "127.0.0.1:9464"  # the page
"""


@pytest.fixture(autouse=True)
def _earlier(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moves, "MOVES", MOVES)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["migrate", *arguments])


def test_they_mean_the_same_and_are_warned_of_and_moved_with_their_comments(tmp_path: Path) -> None:
    file = tmp_path / "plant.toml"
    file.write_text(OLD)
    examined = examine(file)
    told = [str(each) for each in examined.warnings]
    assert f"{file}:4:1: gateway.listen: stands at http.listen now; `fieldgate migrate FILE --write` moves it" in told
    assert any("devices.pump.answer_within: stands at devices.pump.link.response_timeout now" in each for each in told)
    done = run(str(file), "--write")
    assert done.exit_code == 0, done.output
    assert file.read_text() == NEW
    assert load(file) == examined.settings
    assert "is of version 2 already" in run(str(file)).output


def test_in_its_old_and_its_new_place_it_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "plant.toml"
    file.write_text(OLD + '\n[http]\nlisten = "127.0.0.1:1"\n')
    with pytest.raises(
        ConfigurationError, match=r":4:1: gateway.listen: and http.listen are the same setting; take listen"
    ):
        load(file)


def test_what_cannot_be_moved_is_told_with_its_place_and_nothing_is_written(tmp_path: Path) -> None:
    file = tmp_path / "plant.toml"
    text = OLD.replace('link = { modbus_tcp = "127.0.0.1:502" }', 'link = "plc"') + '\n[links.plc]\nmodbus_tcp = "h"\n'
    file.write_text(text)
    done = run(str(file), "--write")
    assert done.exit_code == 2
    assert (
        f"{file}:9:1: devices.pump.answer_within: stands at devices.pump.link.response_timeout now; move it by hand"
        in done.output
    )
    assert file.read_text() == text


@pytest.mark.parametrize(
    ("text", "moved"),
    [
        ("[a]\nx = 1\n[b]\ny = 2\n", "[a]\n[b]\nx = 1\ny = 2\n"),
        ("[b]\n[a]\nx = 1 # why", "[b]\nx = 1  # why\n[a]\n"),
        ("a.x = 1\nb.y = 2\n", "b.y = 2\n\n[b]\nx = 1\n"),
        ("a = { x = 1, z = 3 }\n", "a = { z = 3 }\n\n[b]\nx = 1\n"),
        ("a = { z = 3, x = 1 }\n[b]\n", "a = { z = 3 }\n[b]\nx = 1\n"),
        ("[a]\nx = [1, # one\n  2]\n", "[a]\n\n[b]\nx = [1, # one\n  2]\n"),
        ("[a]\nx = '''\n[b]\n'''\n[b]\n", "[a]\n[b]\nx = '''\n[b]\n'''\n"),
        ("b = {}\n[a]\nx = 1\n", "b = { x = 1}\n[a]\n"),
        ("[b.c]\ny = 2\n[a]\nx = 1\n", "[b.c]\ny = 2\n[a]\n\n[b]\nx = 1\n"),
    ],
)
def test_every_way_of_writing_it_is_moved(text: str, moved: str) -> None:
    done = move(text, ("a", "x"), ("b", "x"))
    assert same(tomllib.loads(done), with_moved(tomllib.loads(text), ("a", "x"), ("b", "x")))
    if "b.y" in text:
        assert tomllib.loads(done) == {"b": {"x": 1, "y": 2}}, "a table of dotted keys takes no header"
    else:
        assert done == moved


def test_a_table_under_its_own_header_is_left_to_its_owner() -> None:
    with pytest.raises(CannotMove):
        move("[a.x]\ny = 1\n", ("a", "x"), ("b", "x"))

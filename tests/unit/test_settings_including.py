"""Several files as one configuration, and what of the environment may come in."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.settings.load import examine
from gateway.settings.problems import ConfigurationError
from gateway.settings.schema import ModbusLink, Settings

MAIN = """\
include = ["conf.d/*.toml"]
[gateway]
id = "g"
"""
PLC = '[links.plc]\nmodbus_tcp = "10.0.0.5:502"\n'
PUMP = '[devices.pump]\nlink = "plc"\ntags.speed = { register = "holding 0" }\n'


def write(folder: Path, **files: str) -> Path:
    (folder / "conf.d").mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / "conf.d" / f"{name}.toml").write_text(text, encoding="utf-8")
    return folder / "main.toml"


def settings(path: Path, text: str = MAIN, **environment: str) -> Settings:
    path.write_text(text, encoding="utf-8")
    return examine(path, environment).settings


def problems(path: Path, text: str = MAIN, **environment: str) -> list[str]:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError) as raised:
        examine(path, environment)
    return [str(problem).removeprefix(f"{path.parent}/") for problem in raised.value.problems]


def test_tables_of_all_files_are_one_configuration(tmp_path: Path) -> None:
    path = write(tmp_path, a=PLC, b=PUMP, c="[devices.pump.tags]\nload = { register = 'holding 1' }\n")
    (tmp_path / "conf.d" / "notes.txt").write_text("not one of them")
    assert [tag.name for tag in settings(path).tags] == ["pump.speed", "pump.load"]


def test_paths_in_an_included_file_begin_at_the_main_files_folder(tmp_path: Path) -> None:
    (tmp_path / "pump.csv").write_text("name,register\nflow,holding 7\n")
    lists = '[devices.pump]\nlink = "plc"\ntag_list = "pump.csv"\n'
    assert [tag.name for tag in settings(write(tmp_path, a=PLC, b=lists)).tags] == ["pump.flow"]


def test_a_key_in_two_files_is_refused_with_both_places(tmp_path: Path) -> None:
    path = write(tmp_path, a=PLC + PUMP, b='\n[devices.pump]\nlink = "other"\n')
    assert problems(path) == [
        f"conf.d/b.toml:3:1: devices.pump.link: stands in {tmp_path}/conf.d/a.toml:4 already; "
        "write it in one of the two"
    ]
    path = write(tmp_path, b='[gateway]\nid = "h"\n')
    assert problems(path) == [f"conf.d/b.toml:2:1: gateway.id: stands in {path}:3 already; write it in one of the two"]


def test_a_problem_stands_at_its_place_in_its_own_file(tmp_path: Path) -> None:
    path = write(tmp_path, a=PLC, b="# a comment\n" + PUMP.replace("holding 0", "holding 99999"))
    (found,) = problems(path)
    assert found.startswith("conf.d/b.toml:4:16: devices.pump.tags.speed.register: address 99999 does not exist")
    (found,) = problems(write(tmp_path, b=PUMP, c="[surprise]\n"))
    assert found.startswith("conf.d/c.toml:1:2: surprise: is not a setting here")
    (found,) = problems(write(tmp_path, c="[not = toml"))
    assert found.startswith("conf.d/c.toml:1:")


def test_a_pattern_may_match_nothing_and_a_name_must_be_there(tmp_path: Path) -> None:
    path = write(tmp_path)
    assert settings(path).tags == ()
    assert problems(path, MAIN.replace("conf.d/*.toml", "site.toml")) == [
        'main.toml:1:1: include: "site.toml" is not there; write a file, or a pattern like *.toml'
    ]
    assert problems(path, MAIN.replace('["conf.d/*.toml"]', "7")) == [
        'main.toml:1:1: include: 7 is not an array; write ["conf.d/*.toml"]'
    ]


def test_an_included_file_includes_no_other(tmp_path: Path) -> None:
    assert problems(write(tmp_path, a=f'include = ["x"]\n{PLC}')) == [
        "conf.d/a.toml:1:1: include: stands in an included file; write it in the main file"
    ]


def test_a_pattern_that_matches_the_main_file_does_not_include_it_again(tmp_path: Path) -> None:
    (tmp_path / "plc.toml").write_text(PLC)
    assert len(settings(tmp_path / "main.toml", MAIN.replace("conf.d/", "")).links) == 1


# --- the environment

NAMED = 'gateway = { id = "g", environment = ["SITE", "PLC"] }\n'


def test_variables_that_are_named_stand_for_what_they_hold(tmp_path: Path) -> None:
    text = NAMED + '[links.plc]\nmodbus_tcp = "${PLC}:502"\n' + PUMP.replace("holding 0", "holding ${SITE}")
    found = settings(tmp_path / "main.toml", text, PLC="10.0.0.9", SITE="12", HOME="/root")
    (link,) = found.links
    assert isinstance(link, ModbusLink)
    assert link.host == "10.0.0.9"
    assert found.tags[0].point.address == 12  # type: ignore[union-attr]


def test_what_is_not_named_or_not_there_is_refused_where_it_stands(tmp_path: Path) -> None:
    text = NAMED + '[links.plc]\nmodbus_tcp = "${PLC}:502"\n[http]\nusers_file = "${HOME}/users"\n'
    assert problems(tmp_path / "main.toml", text, HOME="/root") == [
        "main.toml:3:1: links.plc.modbus_tcp: has ${PLC}, which the environment does not have; set PLC for the service",
        "main.toml:5:1: http.users_file: has ${HOME}, which environment in [gateway] does not name; it names PLC, SITE",
    ]


def test_without_the_key_a_dollar_sign_is_a_dollar_sign(tmp_path: Path) -> None:
    scada = settings(tmp_path / "main.toml", 'gateway.id = "g"\n[scada]\nlock_file = "a${HOME}"\n', HOME="/root").scada
    assert scada is not None
    assert scada.lock_file == tmp_path / "a${HOME}"


def test_a_name_that_is_none_is_refused(tmp_path: Path) -> None:
    (found,) = problems(tmp_path / "main.toml", NAMED.replace('"SITE"', '"a b"'))
    assert 'gateway.environment: "a b" is not the name of a variable' in found

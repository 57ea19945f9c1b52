"""`fieldgate check` and `fieldgate version` as a user starts them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gateway import __version__
from gateway.cli.common import load_or_exit
from tests.support.settings import EXAMPLE, HEAD


def fieldgate(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_a_sound_configuration_is_summed_up(tmp_path: Path) -> None:
    done = fieldgate("check", str(EXAMPLE))
    assert (done.returncode, done.stderr) == (0, "")
    assert "is sound. It would run gateway boiler-house" in done.stdout
    assert "boiler.temperature drives boiler.valve every 20ms" in done.stdout


def test_every_problem_is_a_line_on_stderr_and_the_exit_code_is_2(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(HEAD + "[http]\nport = 80\n[defaults]\nevery = 1\n", encoding="utf-8")
    done = fieldgate("check", str(path))
    assert (done.returncode, done.stdout) == (2, "")
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"{path}:") for line in lines)


def test_problems_and_summary_can_be_read_by_programs(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text("[gateway]\n", encoding="utf-8")
    done = fieldgate("check", "--json", str(path))
    assert done.returncode == 2
    report = json.loads(done.stdout)
    assert report["ok"] is False
    assert report["problems"][0] == {
        "file": str(path),
        "line": 1,
        "column": 2,
        "key": "gateway.id",
        "message": 'is missing; write id = "boiler-house" under [gateway]',
    }
    done = fieldgate("check", "--json", str(EXAMPLE))
    assert done.returncode == 0
    assert json.loads(done.stdout)["runs"]["devices"] == 57


def test_a_missing_file_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    done = fieldgate("check", str(tmp_path / "none.toml"))
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "cannot be read (no such file or directory)" in done.stderr


def test_warnings_do_not_stop_a_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "odd.toml"
    path.write_text(HEAD + '[devices.x]\nlink = "plc"\n', encoding="utf-8")
    assert load_or_exit(path).gateway_id == "g"
    assert "devices.x: warning: has no tags" in capsys.readouterr().err


def test_the_version_is_told_without_loading_numba() -> None:
    done = fieldgate("version", "--json")
    found = json.loads(done.stdout)
    assert found["fieldgate"] == __version__
    assert {"python", "numba", "numpy", "platform"} <= found.keys()
    code = "import sys; from gateway.cli.version import versions; versions(); print('numba' in sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert loaded.stdout.strip() == "False"


def test_registers_that_do_not_fit_are_found_before_the_start(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    tags = "\n".join(f't{number} = {{ register = "holding {number}" }}' for number in range(40))
    path.write_text(
        '[gateway]\nid = "big"\n[links.plc]\nmodbus_tcp = "127.0.0.1:502"\n[devices."d-{n}"]\neach = { n = "1..100" }\n'
        f'link = "plc"\nunit = 1\ntag_list = "many"\n[tag_lists.many]\n{tags}\n[scada]\n',
        encoding="utf-8",
    )
    done = fieldgate("check", str(path))
    assert done.returncode == 2
    assert done.stderr.startswith(f"{path}:51:1: scada: unit 1 has no room for")

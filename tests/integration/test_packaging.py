"""The unit file and the scrape snippet, judged by the programs that will read them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

PACKAGING = Path(__file__).parents[2] / "packaging"
UNIT = PACKAGING / "fieldgate.service"


def settings() -> dict[str, str]:
    lines = [line for line in UNIT.read_text().splitlines() if "=" in line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def verify(unit: Path) -> tuple[int, str]:
    tool = shutil.which("systemd-analyze")
    assert tool, "systemd-analyze is missing: apt-get install -y systemd"
    checked = subprocess.run([tool, "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60)
    return checked.returncode, checked.stdout + checked.stderr


@pytest.fixture
def installed_unit(tmp_path: Path) -> Path:
    """The unit with a program that is there: `verify` wants ExecStart to exist, and /opt/fieldgate need not here.

    Nothing else is changed.
    """
    program = settings()["ExecStart"].split()[0]
    stand_in = shutil.which("true")
    assert stand_in
    unit = tmp_path / "fieldgate.service"
    unit.write_text(UNIT.read_text().replace(f"ExecStart={program}", f"ExecStart={stand_in}"))
    return unit


def test_systemd_finds_nothing_to_say_about_the_unit(installed_unit: Path) -> None:
    # verify exits 0 on warnings too: what counts is that it prints nothing.
    assert verify(installed_unit) == (0, "")


def test_systemd_would_have_said_it(installed_unit: Path) -> None:
    installed_unit.write_text(installed_unit.read_text().replace("WatchdogSec=", "WatchdogSeconds="))
    _, said = verify(installed_unit)
    assert "WatchdogSeconds" in said


def test_the_unit_waits_for_ready_feeds_a_watchdog_and_lets_the_kernels_compile() -> None:
    unit = settings()
    assert unit["Type"] == "notify"
    assert int(unit["WatchdogSec"]) > 0
    assert unit["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert "MemoryDenyWriteExecute" not in unit
    assert "RestrictRealtime" not in unit
    assert "NUMBA_CACHE_DIR=%C/fieldgate/numba" in UNIT.read_text()


def test_promtool_accepts_the_scrape_snippet() -> None:
    tool = shutil.which("promtool")
    assert tool, "promtool is missing: apt-get install -y prometheus"
    config = PACKAGING / "prometheus" / "fieldgate.yml"
    checked = subprocess.run([tool, "check", "config", str(config)], capture_output=True, text=True, timeout=30)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "1 rule files found" in checked.stdout

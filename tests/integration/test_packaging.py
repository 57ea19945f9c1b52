"""The unit file, the scrape snippet and the Debian package's parts, judged by the programs that will read them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from email.utils import parsedate_to_datetime
from importlib import metadata
from pathlib import Path

import msgspec
import pytest

from gateway import __version__
from gateway.cli.app import COMMANDS
from gateway.settings.load import examine

PACKAGING = Path(__file__).parents[2] / "packaging"
UNIT = PACKAGING / "fieldgate.service"
DEB = PACKAGING / "deb"


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


# --- the unit's hardening


EXPOSURE_MAX = 1.8
DROP_INS = sorted((PACKAGING / "systemd").glob("*.conf"))


def test_the_unit_exposes_as_little_as_its_work_allows() -> None:
    tool = shutil.which("systemd-analyze")
    assert tool, "systemd-analyze is missing: apt-get install -y systemd"
    judged = subprocess.run(
        [tool, "security", "--offline=true", "--no-pager", str(UNIT)], capture_output=True, text=True, timeout=60
    )
    exposure = re.search(r"exposure level for fieldgate.service: ([0-9.]+)", judged.stdout)
    assert exposure, judged.stdout + judged.stderr
    assert float(exposure[1]) <= EXPOSURE_MAX


def test_the_unit_lets_the_gateway_ask_whether_the_clock_is_synchronised() -> None:
    text = UNIT.read_text()
    assert "\nProtectClock=" not in text  # it forbids adjtimex(2) altogether, reading included
    filters = re.findall(r"^SystemCallFilter=(.*)$", text, re.MULTILINE)
    assert filters.index("~@privileged @resources") < filters.index("clock_adjtime adjtimex sched_setscheduler mbind")
    assert settings()["CapabilityBoundingSet"] == ""


def test_there_are_drop_ins_for_what_the_unit_leaves_out() -> None:
    assert [path.stem for path in DROP_INS] == ["network", "privileged-ports", "serial"]


@pytest.mark.parametrize("drop_in", DROP_INS, ids=lambda path: path.stem)
def test_systemd_accepts_each_drop_in(installed_unit: Path, drop_in: Path) -> None:
    folder = installed_unit.with_name("fieldgate.service.d")
    folder.mkdir()
    shutil.copy(drop_in, folder)
    assert verify(installed_unit) == (0, "")
    (folder / drop_in.name).write_text(drop_in.read_text().replace("[Service]", "[Service]\nDeviceAllowed=x"))
    assert "DeviceAllowed" in verify(installed_unit)[1], "it looks at the drop-in"


# --- the Debian package; packaging/deb/try.sh tries it as a whole, in an empty system


def test_the_configuration_that_the_package_brings_is_sound() -> None:
    shipped = examine(DEB / "fieldgate.toml")
    assert shipped.warnings == ()
    assert str(shipped.settings.state_dir) == "/var/lib/fieldgate"
    assert shipped.settings.http is not None
    assert shipped.settings.http.host == "127.0.0.1"


@pytest.mark.parametrize(
    "script", ["build.sh", "try.sh", "postinst", "prerm", "postrm", "../wheelhouse.sh", "../release.sh"]
)
def test_scripts_are_posix_shell_and_stop_at_the_first_error(script: str) -> None:
    text = (DEB / script).read_text()
    assert text.startswith("#!/bin/sh\n")
    assert re.search(r"^set -eu?$", text, re.MULTILINE)
    checked = subprocess.run(["/bin/sh", "-n", str(DEB / script)], capture_output=True, text=True, timeout=10)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_package_brings_what_the_unit_names() -> None:
    build = (DEB / "build.sh").read_text()
    program, *arguments = settings()["ExecStart"].split()
    assert program == "/opt/fieldgate/bin/fieldgate"
    assert f'"$stage{program}"' in build
    assert f'"$stage{arguments[-1]}"' in build
    assert f"echo {arguments[-1]} >" in build  # a conffile: upgrades leave it as it is
    assert (
        f"--group --no-create-home --home /var/lib/fieldgate {settings()['User']}\n" in (DEB / "postinst").read_text()
    )
    assert "procps" in (DEB / "control").read_text()  # /bin/kill of ExecReload


def script(name: str, *arguments: str) -> str:
    command = [sys.executable, str(DEB / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=PACKAGING.parent, check=True)
    return done.stdout


def test_the_manual_page_has_every_command_and_option_and_groff_has_nothing_to_say(tmp_path: Path) -> None:
    page = script("manpage.py", "1.2~dev")
    for name in COMMANDS:
        assert f".SS fieldgate {name.replace('-', chr(92) + '-')} " in page, name
    assert ".B \\-\\-write\\-lock" in page
    if tool := shutil.which("groff"):
        path = tmp_path / "fieldgate.1"
        path.write_text(page)
        said = subprocess.run([tool, "-man", "-ww", "-Tutf8", str(path)], capture_output=True, text=True, timeout=60)
        assert (said.returncode, said.stderr) == (0, "")
        assert "the command line or the configuration is wrong" in said.stdout


def test_the_bill_of_materials_lists_what_is_installed_with_version_and_licence() -> None:
    bill = json.loads(script("sbom.py", str(Path(msgspec.__file__).parents[1]), "1.2"))
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    assert bill["metadata"]["component"]["version"] == "1.2"
    parts = {part["name"]: part for part in bill["components"]}
    assert parts["msgspec"]["version"] == metadata.version("msgspec")
    assert parts["numpy"]["purl"] == f"pkg:pypi/numpy@{metadata.version('numpy')}"
    assert len({part["bom-ref"] for part in parts.values()}) == len(parts)
    assert all(part["hashes"][0]["content"] for part in parts.values())
    unnamed = [name for name, part in parts.items() if "licenses" not in part]
    assert len(unnamed) < len(parts) / 10, unnamed


def test_every_blank_of_the_control_file_is_filled_in() -> None:
    blanks = set(re.findall(r"@[A-Z]+@", (DEB / "control").read_text()))
    assert blanks == set(re.findall(r"@[A-Z]+@", (DEB / "build.sh").read_text()))


# --- a release


def test_every_file_that_names_the_version_names_the_same() -> None:
    project = tomllib.loads((PACKAGING.parent / "pyproject.toml").read_text())
    assert project["tool"]["hatch"]["version"]["path"] == "gateway/__init__.py"
    assert "version" in project["project"]["dynamic"]
    headings = re.findall(r"^## \[(.+?)\](?: - (.+))?$", (PACKAGING.parent / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == ("Unreleased", "")
    released, day = headings[1]
    debian = (DEB / "changelog").read_text()
    assert debian.startswith(f"fieldgate ({released}) ")
    signed = re.search(r"^ -- .+ <.+>  (.+)$", debian, re.MULTILINE)
    assert signed
    assert parsedate_to_datetime(signed[1]).date().isoformat() == day
    # Between releases it is the next one's, under development.
    assert re.sub(r"\.dev\d+$", "", __version__) == released or __version__.endswith(".dev0")


def test_the_licences_are_those_of_what_is_installed_and_none_binds_who_ships_it() -> None:
    written = (PACKAGING / "LICENCES.md").read_text()
    if sys.version_info[:2] == (3, 11):
        assert written == script("licences.py"), "run: make licences"
    rows = re.findall(r"^\| (\w[\w-]*) \| (\d\S*|any) \| (.*) \|$", written, re.MULTILINE)
    assert len(rows) > 20
    pins = {name.replace("_", "-").lower(): pin for name, _, pin in (each.partition("==") for each in pinned())}
    for name, version, licence in rows:
        assert licence, f"{name} does not say its licence"
        assert not re.search(r"\b[AL]?GPL", licence), f"{name}: {licence}"
        assert version in ("any", pins.get(name)), f"{name}: run make licences"


def pinned() -> list[str]:
    return (PACKAGING.parent / "constraints.txt").read_text().splitlines()


def test_a_release_without_its_tag_is_refused_and_says_what_to_do(tmp_path: Path) -> None:
    command = [str(PACKAGING / "release.sh"), "--ref", "v0.0.0", "--output", str(tmp_path / "release")]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert refused.returncode == 2
    assert "git tag --annotate v0.0.0" in refused.stderr
    assert not (tmp_path / "release").exists()

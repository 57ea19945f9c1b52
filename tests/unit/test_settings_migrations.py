"""Versions of the configuration: old keys are understood and rewritten, newer versions refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli.app import app
from gateway.settings.load import examine, load
from gateway.settings.migrations import ANY, MIGRATIONS, PRESENT
from gateway.settings.problems import ConfigurationError
from gateway.settings.reference import KEYS

OLD = """# Plant 7.
[gateway]
id = "a"  # who

[links.plc]
modbus_tls = "127.0.0.1:802"
ca_file = "ca.pem"
"certificate_file" = "own.pem"  # certificate_file stays here
key_file = "own.key"

[devices.pump]
link = "plc"
tags.a = { register = "holding 0" }

[devices.fan]
link = { modbus_tls = "127.0.0.2:802", certificate_file = "own.pem", key_file = "own.key" }
tags.certificate_file = { register = "holding 0" }
"""
NEW = (
    OLD.replace('"certificate_file" =', "cert_file =")
    .replace(", certificate_file", ", cert_file")
    .replace("[gateway]", "version = 2\n\n[gateway]")
)


def written(folder: Path, text: str) -> Path:
    for name in ("ca.pem", "own.pem", "own.key"):
        (folder / name).write_text("-")
    file = folder / "plant.toml"
    file.write_text(text)
    return file


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["migrate", *arguments])


def test_old_keys_mean_the_same_and_are_warned_of(tmp_path: Path) -> None:
    examined = examine(written(tmp_path, OLD))
    told = [str(warning) for warning in examined.warnings if "migrate" in str(warning)]
    assert len(told) == 2
    assert told[0].startswith(
        f"{tmp_path / 'plant.toml'}:8:1: links.plc.certificate_file: is called links.plc.cert_file"
    )
    assert load(written(tmp_path, NEW)) == examined.settings


def test_a_file_is_shown_as_it_would_be_and_rewritten_when_asked_for(tmp_path: Path) -> None:
    file = written(tmp_path, OLD)
    file.chmod(0o640)
    shown = run(str(file))
    assert shown.exit_code == 0, shown.output
    assert '-"certificate_file" = "own.pem"  # certificate_file stays here' in shown.output
    assert '+cert_file = "own.pem"  # certificate_file stays here' in shown.output
    assert file.read_text() == OLD
    assert run(str(file), "--write").exit_code == 0
    assert file.read_text() == NEW
    assert file.stat().st_mode & 0o777 == 0o640
    again = run(str(file), "--write")
    assert "is of version 2 already" in again.output
    assert not list(tmp_path.glob("*.part"))


def test_line_ends_and_the_mark_of_utf_8_stay(tmp_path: Path) -> None:
    file = written(tmp_path, "")
    file.write_bytes(b"\xef\xbb\xbf" + OLD.replace("\n", "\r\n").encode())
    assert run(str(file), "--write").exit_code == 0
    assert file.read_bytes() == b"\xef\xbb\xbf" + NEW.replace("\n", "\r\n").encode()


def test_included_files_are_rewritten_too_and_the_version_is_the_main_files(tmp_path: Path) -> None:
    head, link = (
        'include = ["conf.d/*.toml"]\nversion = 1 # old\n[gateway]\nid = "a"\n',
        OLD[OLD.index("[links.plc]") :],
    )
    file = written(tmp_path, head)
    (tmp_path / "conf.d").mkdir()
    part = tmp_path / "conf.d" / "links.toml"
    part.write_text(link)
    before = load(file)
    assert run(str(file), "--write").exit_code == 0
    assert file.read_text() == head.replace("version = 1", "version = 2")
    assert part.read_text() == NEW[NEW.index("[links.plc]") :]
    assert load(file) == before


@pytest.mark.parametrize(
    ("version", "why"),
    [
        ("3", "version: is 3, and this fieldgate reads up to 2; install a newer one, or the file's older state"),
        ("0", "version: 0 is not a version; write version = 2"),
        ('"2"', 'version: "2" is not a version; write version = 2'),
        ("true", "version: true is not a version; write version = 2"),
    ],
)
def test_a_version_that_is_not_known_is_refused(tmp_path: Path, version: str, why: str) -> None:
    file = written(tmp_path, f"version = {version}\n{OLD}")
    with pytest.raises(ConfigurationError) as refused:
        load(file)
    assert [str(problem) for problem in refused.value.problems] == [f"{file}:1:1: {why}"]
    assert run(str(file), "--write").exit_code == 2, "as of any configuration that cannot be read"


def test_an_old_key_in_a_file_of_the_present_version_is_no_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="certificate_file: is not a setting here"):
        load(written(tmp_path, f"version = 2\n{OLD}"))


def test_both_names_at_a_time_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="and cert_file are the same setting; take certificate_file out"):
        load(written(tmp_path, OLD.replace("key_file", 'cert_file = "own.pem"\nkey_file', 1)))


@pytest.mark.parametrize("one", MIGRATIONS, ids=lambda one: ".".join(one.path))
def test_every_migration_leads_to_a_key_that_there_is(one: object) -> None:
    until, path, now = one  # type: ignore[misc]
    assert 1 <= until < PRESENT
    new = ".".join("NAME" if part == ANY else part for part in (*path[:-1], now))
    old = ".".join("NAME" if part == ANY else part for part in path)
    known = {key.path for key in KEYS}
    assert old not in known
    assert new in known or f"links.NAME.{now}" in known, "a link inside has the keys of links.NAME"

"""`fieldgate support`: what a developer asks for, and not one secret."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli.app import app
from gateway.cli.support_bundle import REMOVED, secrets_of, without_secrets

PASSWORD = "correct horse battery \\ staple"
TOKEN = "dG9rZW4tb2YtYS1kYXRhYmFzZQ=="
HASH = "scrypt$16384$8$1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaGhhc2g"
KEY = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49\n-----END PRIVATE KEY-----\n"
CONFIG = """\
include = ["conf.d/*.toml"]
gateway = { id = "g", state_dir = "state" }
[uplink.cloud]
mqtt = "mqtts://broker.example"
username = "boiler"
password_file = "secrets/cloud"
[scada]
"""
MORE = """\
[uplink.lake]
http = "https://lake.example/write"
format = "json"
token_file = "secrets/token"
[http]
listen = "127.0.0.1:1"
users_file = "users.toml"
# password = "an old one that somebody left here"
# a note: mqtt://boiler:another-one@broker.example
"""
SECRETS = (PASSWORD, TOKEN, HASH, "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49", "an old one that somebody left", "another-one")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    for name in ("secrets", "conf.d", "state"):
        (tmp_path / name).mkdir()
    (tmp_path / "plant.toml").write_text(CONFIG)
    (tmp_path / "conf.d" / "lake.toml").write_text(MORE)
    (tmp_path / "secrets" / "cloud").write_text(f"{PASSWORD}\n")
    (tmp_path / "secrets" / "token").write_text(TOKEN)
    (tmp_path / "users.toml").write_text(f'[users.anna]\nrole = "engineer"\nhash = "{HASH}"\n')
    (tmp_path / "plant.registers.lock").write_text(f"# {PASSWORD} and {HASH}\n{KEY}")
    return tmp_path / "plant.toml"


def support(config: Path) -> Result:
    return CliRunner().invoke(app, ["support", str(config), "--output", str(config.parent / "bundle.tar.gz")])


def members(config: Path) -> dict[str, bytes]:
    with tarfile.open(config.parent / "bundle.tar.gz") as archive:
        found = {}
        for entry in archive.getmembers():
            file = archive.extractfile(entry)
            assert file is not None
            assert entry.mode == 0o600
            found[entry.name.partition("/")[2]] = file.read()
        return found


def test_it_has_configuration_state_and_machine_and_no_secret_anywhere(config: Path) -> None:
    result = support(config)
    assert result.exit_code == 0, result.output
    assert (config.parent / "bundle.tar.gz").stat().st_mode & 0o777 == 0o600
    found = members(config)
    assert found.keys() >= {
        *("README.txt", "version.json", "check.json", "state.txt", "configuration/plant.toml", "machine/kernel"),
        *("configuration/lake.toml", "configuration/registers.lock", "gateway/metrics-not-reached.txt"),
    }
    assert b"mqtts://broker.example" in found["configuration/plant.toml"]
    assert REMOVED.encode() in found["configuration/registers.lock"], "however it got in"
    assert json.loads(found["check.json"])["runs"]["gateway"] == "g"
    whole = b"\n".join(found.values())
    for secret in SECRETS:
        assert secret.encode() not in whole, secret
        assert json.dumps(secret)[1:-1].encode() not in whole, secret


def test_a_configuration_that_is_wrong_is_no_hindrance(config: Path) -> None:
    config.write_text(CONFIG + "[surprise]\n")
    assert support(config).exit_code == 0
    assert b"surprise: is not a setting here" in members(config)["check.txt"]
    config.write_text("[not = toml")
    (config.parent / "bundle.tar.gz").unlink()
    assert support(config).exit_code == 0
    assert b"[not = toml" in members(config)["configuration/plant.toml"]


def test_a_bundle_that_is_there_stays(config: Path) -> None:
    assert support(config).exit_code == 0
    before = (config.parent / "bundle.tar.gz").read_bytes()
    assert support(config).exit_code == 2
    assert (config.parent / "bundle.tar.gz").read_bytes() == before
    assert tarfile.is_tarfile(io.BytesIO(before))


def test_what_says_of_itself_that_it_is_secret_is_blanked_and_names_of_files_are_not() -> None:
    text = 'password = "x1"\n  api_key="x2"\npassword_file = "secrets/cloud"\nmqtt = "mqtt://u:x3@b:1883"\n' + KEY
    cleaned = without_secrets(text)
    assert not [secret for secret in ("x1", "x2", "x3", "MIGH") if secret in cleaned]
    assert 'password_file = "secrets/cloud"' in cleaned
    assert f"mqtt://{REMOVED}@b:1883" in cleaned


def test_short_and_usual_words_of_a_users_file_are_not_looked_for(tmp_path: Path) -> None:
    (tmp_path / "users.toml").write_text(f'[users.anna]\nrole = "engineer"\nhash = "{HASH}"\n')
    found = secrets_of([tmp_path / "users.toml", tmp_path / "missing"])
    assert HASH.encode() in found
    assert b"engineer" not in found
    assert b"[users.anna]" not in found

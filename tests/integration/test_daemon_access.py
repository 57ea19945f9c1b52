"""Users of a running gateway: logging in, writing by the page's API, the terminal beside it, and what is on record."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
import pytest

from tests.support.daemon import Gateway, Outside, until
from tests.support.modbus import pymodbus_server

CONFIG = """
[gateway]
id = "plant"
[devices.pump]
link = {{ modbus_tcp = "127.0.0.1:{plc}" }}
tags.speed = {{ register = "holding 0", every = "50ms", write = true, verify = true }}
tags.torque = {{ register = "holding 2", every = "50ms", write = true }}
[writes]
page = ["pump.speed"]
[http]
listen = "127.0.0.1:<http>"
users_file = "users.toml"
"""
PASSWORD = "turn the valve slowly"


def fieldgate(*words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway", *words]
    return subprocess.run(command, input=given, capture_output=True, text=True, timeout=60, check=False)


def add_user(gateway: Gateway, name: str, role: str) -> None:
    words = ("user", "add", name, "--role", role, "--password-stdin", "--config", str(gateway.config))
    done = fieldgate(*words, given=f"{PASSWORD}\n")
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("access")
    with ExitStack() as stack:
        outside = stack.enter_context(Outside())
        server = pymodbus_server([0] * 20, [False] * 20)
        port = outside.run(server.__aenter__())
        stack.callback(lambda: outside.run(server.__aexit__(None, None, None)))
        gateway = stack.enter_context(Gateway(folder, CONFIG.format(plc=port)))
        for name, role in (("anna", "operator"), ("victor", "viewer"), ("walter", "viewer")):
            add_user(gateway, name, role)
        gateway.start()
        yield gateway


@contextmanager
def entered(gateway: Gateway, name: str) -> Iterator[httpx.Client]:
    client = httpx.Client(base_url=f"http://127.0.0.1:{gateway.http_port}", timeout=10)
    answer = client.post("/api/login", json={"user": name, "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    client.headers["x-csrf-token"] = answer.json()["csrf"]
    yield client
    client.close()


def on_record(plant: Gateway) -> list[tuple[str, str, str, str]]:
    path = plant.config.parent / "state" / "audit.jsonl"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    lines = [json.loads(line) for line in text.splitlines()]
    return [(line["way"], line["who"], line["what"], line["result"]) for line in lines if line["result"] != "sent"]


def test_an_operator_writes_what_is_opened_to_the_page_and_all_of_it_is_on_record(plant: Gateway) -> None:
    before = len(on_record(plant))
    with entered(plant, "anna") as anna, entered(plant, "victor") as victor:
        tags = {tag["name"]: tag for tag in anna.get("/api/tags").json()["tags"]}
        assert (tags["pump.speed"]["writable"], tags["pump.torque"]["writable"]) == (True, False)
        done = anna.post("/api/actions/tag.write", json={"tag": "pump.speed", "value": "1450"})
        assert done.json()["says"] == "pump.speed 0 -> 1450 verified"
        refused = anna.post("/api/actions/tag.write", json={"tag": "pump.torque", "value": 1})
        assert refused.status_code == 409
        assert "pump.torque is not among page under [writes]" in refused.json()["says"]
        assert victor.post("/api/actions/tag.write", json={"tag": "pump.speed", "value": 0}).status_code == 403

    until(lambda: len(on_record(plant)) >= before + 4, "all is on record")
    assert on_record(plant)[before : before + 4] == [
        ("page", "anna", "log-in", "logged in"),
        ("page", "victor", "log-in", "logged in"),
        ("page", "anna", "pump.speed", "verified"),
        ("page", "anna", "pump.torque", "refused"),
    ]


def test_the_terminal_asks_the_operators_socket_and_by_name_for_the_password(plant: Gateway) -> None:
    config = ("--config", str(plant.config))
    listed = fieldgate("tags", "--json", *config)
    assert listed.returncode == 0, listed.stderr
    assert json.loads(listed.stdout)["total"] == 2
    address = ("--url", f"http://127.0.0.1:{plant.http_port}")
    named = fieldgate("tags", "--json", *address, "--user", "victor", given=f"{PASSWORD}\n")
    assert named.returncode == 0, named.stderr
    wrong = fieldgate("tags", "--json", *address, "--user", "victor", given="something else\n")
    assert (wrong.returncode, wrong.stderr.count("log in first")) == (1, 1)


def test_whoever_is_removed_is_out(plant: Gateway) -> None:
    with entered(plant, "walter") as walter:
        assert walter.get("/api/status").status_code == 200
        done = fieldgate("user", "remove", "walter", "--config", str(plant.config))
        assert done.returncode == 0, done.stderr
        until(lambda: walter.get("/api/status").status_code == 401, "the gateway knows")
    listed = fieldgate("user", "list", "--config", str(plant.config)).stdout.split()
    assert listed == ["anna", "operator", "victor", "viewer"]
    assert fieldgate("user", "remove", "walter", "--config", str(plant.config)).returncode == 2


def test_a_password_that_is_too_short_and_a_name_that_is_none_are_refused(plant: Gateway) -> None:
    words = ("--password-stdin", "--config", str(plant.config))
    short = fieldgate("user", "add", "otto", *words, given="12345\n")
    assert (short.returncode, short.stderr) == (2, "a password has 10 to 200 characters; this one has 5\n")
    named = fieldgate("user", "add", "Otto K", *words, given=f"{PASSWORD}\n")
    assert (named.returncode, named.stderr.split(";")[0]) == (2, "'Otto K' is no name for a user")

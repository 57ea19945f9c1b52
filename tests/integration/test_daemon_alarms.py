"""Alarms of a running gateway, as whoever is on call meets them: list, acknowledge, shelve, by command and socket."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from gateway.serving.operator.messages import LINE_BYTES_MAX, short
from tests.support.daemon import Gateway, Outside, until
from tests.support.modbus import Asked, ScriptedServer, scripted

CONFIG = """
[gateway]
id = "plant"
state_dir = "state"
[links.plc]
modbus_tcp = "127.0.0.1:<plc>"
[devices.pump]
link = "plc"
tags.speed = { register = "holding 0", every = "50ms", alarm = { high = { limit = 90, latch = true }, low = 5 } }
[http]
listen = "127.0.0.1:<http>"
"""
ME = pwd.getpwuid(os.getuid()).pw_name
"""Whoever runs the tests: the kernel tells the gateway."""


class Plant:
    """A pump whose speed the tests set, and its gateway."""

    def __init__(self, gateway: Gateway, values: dict[str, int]) -> None:
        self.gateway = gateway
        self._values = values

    def speed(self, value: int) -> None:
        self._values["speed"] = value

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "gateway", "alarms", *arguments, "--config", str(self.gateway.config)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def alarms(self) -> dict[str, dict[str, Any]]:
        done = self.command("list", "--json")
        assert done.returncode == 0, done.stderr
        return {alarm["name"]: alarm for alarm in json.loads(done.stdout)["alarms"]}

    def say(self, line: bytes) -> dict[str, Any]:
        """One line to the operator's socket, and the answer."""
        with socket.socket(socket.AF_UNIX) as peer, short(self.gateway.config.parent / "state/operator.sock") as place:
            peer.settimeout(10)
            peer.connect(place)
            peer.sendall(line + b"\n")
            answer: dict[str, Any] = json.loads(peer.makefile("rb").readline())
            return answer

    def told(self, kind: str) -> list[str]:
        return [line.message for line in self.gateway.lines(kind)]

    def until_state(self, state: str, alarm: str = "pump.speed/high") -> None:
        until(lambda: self.alarms().get(alarm, {"state": "normal"})["state"] == state, f"{alarm} is {state}")


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    # A folder deeper than a socket's address is long.
    folder = tmp_path_factory.mktemp("plant") / ("deep-" * 12) / ("deeper-" * 8)
    folder.mkdir(parents=True)
    values = {"speed": 50}

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(asked.reply(data=values["speed"].to_bytes(2, "big")))

    with Outside() as outside:
        stack = AsyncExitStack()

        async def open_plc() -> ScriptedServer:
            return await stack.enter_async_context(scripted({1: answer}))

        plc = outside.run(open_plc())
        with Gateway(folder, CONFIG.replace("<plc>", str(plc.port))) as gateway:
            gateway.start()
            yield Plant(gateway, values)
        outside.run(stack.aclose())


def test_an_alarm_is_listed_acknowledged_and_gone(plant: Plant) -> None:
    assert plant.alarms() == {}
    plant.speed(95)
    plant.until_state("active")
    listed = plant.alarms()["pump.speed/high"]
    assert (listed["value"], listed["condition"], listed["priority"]) == (95.0, "above 90", "medium")
    plant.speed(50)
    plant.until_state("returned")
    done = plant.command("acknowledge", "pump.speed/high")
    assert (done.returncode, done.stdout) == (0, "pump.speed/high acknowledged\n")
    plant.until_state("normal")
    assert plant.told("alarm.high.acknowledged")[-1] == f"pump.speed: high alarm acknowledged by {ME}"
    assert plant.gateway.metric("fieldgate_operator_actions_total", action="alarm.acknowledge", outcome="done") == 1


def test_a_shelved_alarm_is_listed_as_such_and_not_told_until_it_is_shown_again(plant: Plant) -> None:
    assert plant.command("shelve", "pump.speed/low", "--for", "10min").returncode == 0
    raised = len(plant.told("alarm.low.raised"))
    plant.speed(1)
    plant.until_state("active", "pump.speed/low")
    assert 500 < plant.alarms()["pump.speed/low"]["shelved_for_s"] <= 600
    assert len(plant.told("alarm.low.raised")) == raised
    assert plant.command("unshelve", "pump.speed/low").returncode == 0
    until(lambda: len(plant.told("alarm.low.raised")) == raised + 1, "it is told")
    plant.speed(50)
    plant.until_state("normal", "pump.speed/low")


def test_the_list_of_all_shows_what_there_is(plant: Plant) -> None:
    done = plant.command("list", "--all")
    # The one that changed last comes first, and that is another one in another order of the tests.
    assert {line.split()[0] for line in done.stdout.splitlines()[1:]} == {"pump.speed/low", "pump.speed/high"}


def test_an_alarm_that_there_is_not_is_refused_with_a_near_one(plant: Plant) -> None:
    done = plant.command("acknowledge", "pump.speed/hihg")
    assert done.returncode == 1
    assert done.stderr == 'there is no alarm pump.speed/hihg; did you mean "pump.speed/high"?\n'
    assert f"alarm.acknowledge by {ME} was refused" in plant.told("operator.refused")[-1]


@pytest.mark.parametrize(("for_", "says"), [("25h", "too long"), ("0s", "too short"), ("soon", "is not a duration")])
def test_a_wrong_duration_is_exit_code_2(plant: Plant, for_: str, says: str) -> None:
    done = plant.command("shelve", "pump.speed/low", "--for", for_)
    assert done.returncode == 2
    assert says in done.stderr


def test_without_a_gateway_it_is_said_where_one_was_looked_for(tmp_path: Path) -> None:
    config = tmp_path / "other.toml"
    config.write_text('[gateway]\nid = "other"\nstate_dir = "state"\n')
    arguments = [sys.executable, "-m", "gateway", "alarms", "acknowledge", "a.b/high", "--config", str(config)]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert f"no gateway is at work here: there is no {tmp_path}/state/operator.sock" in done.stderr


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"no json", "that is no request"),
        (b"[1, 2]", "that is no request"),
        (b'{"do": "rm -rf"}', "there is no action 'rm -rf'; there are alarm.acknowledge"),
        (b'{"do": "alarm.acknowledge"}', "missing required field `alarm`"),
        (b'{"do": "alarm.acknowledge", "with": {"alarm": 7}}', "Expected `str`, got `int`"),
        (b'{"do": "alarm.shelve", "with": {"alarm": "pump.speed/low", "for_s": -1}}', "for no less than 1 s"),
        (b'{"do": "alarm.shelve", "with": {"alarm": "pump.speed/low", "for_s": 1e300}}', "up to 24 h"),
        (b'"' + b"x" * (LINE_BYTES_MAX + 10), "a request has at most"),
    ],
)
def test_what_is_wrong_on_the_socket_is_answered_and_changes_nothing(plant: Plant, line: bytes, says: str) -> None:
    answer = plant.say(line)
    assert answer["ok"] is False
    assert says in answer["says"]
    assert plant.say(b'{"do": "alarm.unshelve", "with": {"alarm": "pump.speed/low"}}')["ok"], "the next one is heard"


def test_only_the_services_user_and_group_may_ask(plant: Plant) -> None:
    place = plant.gateway.config.parent / "state/operator.sock"
    assert place.stat().st_mode & 0o777 == 0o660
